"""Where CIFAR-10 is looked for."""

import os
from pathlib import Path

from harness.common import paths
from harness.common.errors import BadInput
from harness.data import download
from harness.data.layouts import recognise
from harness.data.layouts.source import Source, reading


def places() -> tuple[Path, ...]:
    """The folders looked in, in order, where `$CIFAR10_DIR` is not set."""
    here = Path.cwd() / "data"
    return (here, here / "cifar10", paths.PROJECT.parent / "shared" / "data" / "cifar10", download.folder())


def find() -> Source | None:
    """The data set in `$CIFAR10_DIR`, or where that is not set, the first in `places()`; None without any.

    Raises BadInput where `$CIFAR10_DIR` is set and holds nothing that is recognised: the user meant that one.
    """
    chosen = os.environ.get("CIFAR10_DIR")
    if chosen:
        return _insist(Path(chosen).expanduser().absolute())
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
            f"data_batch_1 ..., one of the official archives under its own name, train-*.parquet, or "
            f"train/<class>/*.png. Correct it, or unset it to look elsewhere."
        )
    return source
