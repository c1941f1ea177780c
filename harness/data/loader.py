"""Load a `Dataset`: find it, decode it or take it from the cache, check it and name it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.common import paths
from harness.common.errors import BadInput
from harness.data.cache import cached
from harness.data.dataset import IMAGE_SHAPE, Dataset, Decoded, Images, Labels, fingerprint, name_of
from harness.data.download import Unavailable, url
from harness.data.download import download as download_archive
from harness.data.download import folder as download_folder
from harness.data.layouts import recognise
from harness.data.layouts.official import BINARY
from harness.data.layouts.source import ANOTHER_COPY, Source, reading
from harness.data.sklearn_digits import digits
from harness.published import TRAIN_IMAGES

TEST_IMAGES = 10_000

#: The data sets other than CIFAR-10, by name (`--data NAME`).
NAMED: dict[str, Callable[[], Dataset]] = {"digits": digits}


class NotFound(BadInput):
    """There is no CIFAR-10 on this machine, and it cannot be downloaded. The message says how to get it."""


def load(which: str | None = None) -> Dataset:
    """Return a data set.

    which: None or "cifar10" for the CIFAR-10 of this machine, downloaded if there is none; or a name in `NAMED`.

    Raises NotFound, or BadInput if the data is damaged or there is no data set of that name. The message names the file
    and says what to do.
    """
    if which in NAMED:
        return NAMED[which]()
    if which not in (None, "cifar10"):
        names = " or ".join(f'"{name}"' for name in ("cifar10", *NAMED))
        raise BadInput(f'There is no data set "{which}": choose {names}, or leave it out.')
    try:
        source = find() or recognise(download_archive())
    except Unavailable as error:
        looked = ", ".join(str(place) for place in places())
        raise NotFound(f"CIFAR-10 was not found (looked in {looked}), and {error}. {how_to_get_cifar10()}") from error
    assert source is not None, "the official archive is recognised"
    return read(source)


def load_named(name: str) -> Dataset:
    """Return the data set for a run's data name: one of `NAMED`, else the copy of CIFAR-10 on this machine."""
    return load(name if name in NAMED else None)


def read(source: Source) -> Dataset:
    """Return the data set of a source, from the cache if it was decoded before. Raises BadInput if it is damaged."""
    with reading(source.path):
        key = source.key()
    return cached(key, source.path, lambda: _decode(source))


def _decode(source: Source) -> Dataset:
    with reading(source.path):
        decoded = source.decode()
    validate(decoded, source.path)
    content = fingerprint(*decoded[:4])
    return Dataset(
        name=name_of(decoded, content),
        fingerprint=content,
        source=paths.printable(source.path),
        layout=source.layout,
        class_names=decoded.class_names,
        train_images=decoded.train_images,
        train_labels=decoded.train_labels.astype(np.int32),
        test_images=decoded.test_images,
        test_labels=decoded.test_labels.astype(np.int32),
    )


def validate(decoded: Decoded, where: Path) -> None:
    """Raise BadInput, which names `where`, unless counts, shapes, labels and classes are those of CIFAR-10."""
    _validate_part("training", decoded.train_images, decoded.train_labels, TRAIN_IMAGES, decoded, where)
    _validate_part("test", decoded.test_images, decoded.test_labels, TEST_IMAGES, decoded, where)


def _validate_part(part: str, images: Images, labels: Labels, expected: int, decoded: Decoded, where: Path) -> None:
    if images.shape[1:] != IMAGE_SHAPE or images.dtype != np.uint8:
        raise BadInput(
            f"{where}: the {part} images have the wrong shape, {images.dtype} {list(images.shape[1:])} instead of "
            f"uint8 {list(IMAGE_SHAPE)}. {ANOTHER_COPY}"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= len(decoded.class_names)))
    if outside.size:
        raise BadInput(
            f"{where}: {part} image {outside[0]:,} has the label {labels[outside[0]]}; the labels of CIFAR-10 are "
            f"0 to 9. {ANOTHER_COPY}"
        )
    counts = np.bincount(labels.astype(np.int64), minlength=len(decoded.class_names))
    missing = [name for name, count in zip(decoded.class_names, counts, strict=True) if count == 0]
    if missing and len(labels):
        raise BadInput(
            f"{where}: the {part} set has no image of the class {', '.join(missing)} ({len(labels):,} images in all). "
            f"{ANOTHER_COPY}"
        )
    if len(labels) != expected or len(images) != expected:
        raise BadInput(f"{where}: the {part} set has {len(images):,} images, CIFAR-10 has {expected:,}. {ANOTHER_COPY}")


def how_to_get_cifar10() -> str:
    """Return one paragraph with every way to get CIFAR-10 onto this machine."""
    return (
        f"Ways to get CIFAR-10: connect this machine to the network and run the same command again, which downloads "
        f"{url()} (162 MB; $CIFAR10_URL names a mirror); or fetch {BINARY.archive} on another machine and put it, "
        f"packed or unpacked, into ./data; or point $CIFAR10_DIR at a copy you have, in any of the layouts "
        f"official binary, official python, Hugging Face parquet (plain_text/*.parquet), or a folder tree "
        f"train/<class>/*.png and test/<class>/*.png."
    )


def places() -> tuple[Path, ...]:
    """Return the folders to search, in this order, if `$CIFAR10_DIR` is not set."""
    here = Path.cwd() / "data"
    return (here, here / "cifar10", paths.PROJECT.parent / "shared" / "data" / "cifar10", download_folder())


def find() -> Source | None:
    """Return the data set in `$CIFAR10_DIR` or, if that is not set, the first one in `places()`; None if there is none.

    Raises BadInput if `$CIFAR10_DIR` is set but no data set is recognised there, because the user asked for that one.
    """
    if chosen := paths.given("CIFAR10_DIR"):
        return _insist(chosen.absolute())
    for place in places():
        with reading(place):
            there = place.is_dir()
        source = recognise(place) if there else None
        if source is not None:
            return source
    return None


def _insist(place: Path) -> Source:
    with reading(place):
        there = place.exists()
    if not there:
        raise BadInput(f"$CIFAR10_DIR is {place}, which does not exist. Correct it, or unset it to look elsewhere.")
    source = recognise(place)
    if source is None:
        raise BadInput(
            f"$CIFAR10_DIR is {place}, where no CIFAR-10 is recognised: expected are data_batch_1.bin ... or "
            f"data_batch_1 ..., one of the official archives under its own name, train-*.parquet, trainLabels.csv, or "
            f"train/<class>/*.png. Correct it, or unset it to look elsewhere."
        )
    return source
