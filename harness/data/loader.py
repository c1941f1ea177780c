"""From "which data?" to a `Dataset`: find, decode or take from the cache, check, name."""

import logging

import numpy as np

from harness.common.errors import BadInput
from harness.data import known, layouts
from harness.data.cache import cached
from harness.data.dataset import Dataset, fingerprint
from harness.data.download import Unavailable
from harness.data.download import download as download_archive
from harness.data.find import find, places
from harness.data.layouts.source import Source, reading
from harness.data.sklearn_digits import digits
from harness.data.validate import validate
from harness.data.ways import how_to_get_cifar10

log = logging.getLogger("harness")


def load(which: str | None = None, *, allow_digits: bool = False, download: bool = True) -> Dataset:
    """The data to work on.

    Args:
        which: None for the CIFAR-10 of this machine, wherever it is; "cifar10" to insist on it; "digits" for
            the handwritten digits.
        allow_digits: with None, take the digits where CIFAR-10 can neither be found nor downloaded. The caller
            sees `name == "digits"` and must say so, with `how_to_get_cifar10()`.
        download: fetch CIFAR-10 where it is not found.

    Raises:
        BadInput: nothing found, or something found that is broken. Names the file and the way out.
    """
    if which == "digits":
        return digits()
    if which not in (None, "cifar10"):
        raise BadInput(f'There is no data set "{which}": choose "cifar10" or "digits", or leave it out.')
    reason = "downloading is switched off"
    source = find()
    if source is None and download:
        try:
            source = layouts.recognise(download_archive())
        except Unavailable as error:
            reason = str(error)
    if source is not None:
        return read(source)
    if allow_digits and which is None:
        log.warning("CIFAR-10 was not found, and %s: going on with the digits.", reason)
        return digits()
    looked = ", ".join(str(place) for place in places())
    raise BadInput(f"CIFAR-10 was not found (looked in {looked}), and {reason}. {how_to_get_cifar10()}")


def read(source: Source) -> Dataset:
    """The data set of a source, from the cache if it was decoded before. Raises BadInput if it is broken."""
    with reading(source.path):
        key = source.key()
    return cached(key, source.path, lambda: _decode(source))


def _decode(source: Source) -> Dataset:
    with reading(source.path):
        decoded = source.decode()
    validate(decoded, source.path)
    content = fingerprint(*decoded[:4])
    return Dataset(
        name=known.name_of(decoded, content),
        fingerprint=content,
        source=str(source.path),
        layout=source.layout,
        class_names=decoded.class_names,
        train_images=decoded.train_images,
        train_labels=decoded.train_labels.astype(np.int32),
        test_images=decoded.test_images,
        test_labels=decoded.test_labels.astype(np.int32),
    )
