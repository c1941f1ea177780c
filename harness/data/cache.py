"""The cache of decoded data sets: the arrays of a data set in one file, memory-mapped at the next start.

An entry is a header of 64 KiB (the sha256 of one line of JSON and that line, padded with blanks), followed by the four
arrays as uint8 bytes: train images, train labels, test images, test labels. At every start the header is checked
against its sha256, and the arrays against the fingerprint in it: a damaged entry is rebuilt, never used for training.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.common import paths
from harness.common.files import locked, remove_unfinished, replacing
from harness.data.dataset import Dataset, fingerprint

FORMAT = 2  # part of every entry's name: increase it when decoding or naming changes, and old entries are not used
HEADER_BYTES = 1 << 16  # a multiple of the memory page size, with room for any ten class names
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")

log = logging.getLogger("harness")


def cached(key: str, source: Path, decode: Callable[[], Dataset]) -> Dataset:
    """Return the data set of a key from the cache, or decode it and write it to the cache.

    Args:
        key: hex sha256 of the source files.
        source: where the data was found this time, for `Dataset.source`.
        decode: called at most once; its exceptions are passed on and leave the cache unchanged.

    If the cache cannot be written, a warning is logged and the data set is decoded again the next time.
    """
    entry = paths.cache() / "decoded" / f"{key[:16]}.v{FORMAT}"
    dataset = _read(entry, source)
    if dataset is not None:
        return dataset
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with locked(entry.with_suffix(".lock")):  # of two processes, the second one waits and then finds the entry
            dataset = _read(entry, source)
            if dataset is None:
                dataset = decode()
                _write(entry, dataset)
    except OSError as error:
        log.warning(
            "The decoded data could not be kept in %s (%s): it is used all the same, and decoded again next time. "
            "Make room there, or point $HARNESS_CACHE at a folder that can be written.",
            entry.parent,
            error.strerror or error,
        )
    return dataset or decode()


def _read(entry: Path, source: Path) -> Dataset | None:
    """Return the data set of an entry, or None if the entry is missing or damaged."""
    try:
        with entry.open("rb") as stream:
            digest, _, line = stream.read(HEADER_BYTES).rstrip(b" ").partition(b"\n")
        if digest != _digest(line):
            return None
        header = json.loads(line)
        shapes = [tuple(header["shapes"][name]) for name in ARRAYS]
        sizes = [math.prod(shape) for shape in shapes]
        if entry.stat().st_size != HEADER_BYTES + sum(sizes):
            return None
        # Mapped copy-on-write: processes share the pages, and writing to an array does not change the file.
        content = np.asarray(np.memmap(entry, np.uint8, mode="c", offset=HEADER_BYTES))
        parts = np.split(content, np.cumsum(sizes)[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        if fingerprint(*arrays) != header["fingerprint"]:
            return None
        train_images, train_labels, test_images, test_labels = arrays
        return Dataset(
            name=header["name"],
            fingerprint=header["fingerprint"],
            source=paths.printable(source),
            layout=header["layout"],
            class_names=tuple(header["class_names"]),
            train_images=train_images,
            train_labels=train_labels.astype(np.int32),
            test_images=test_images,
            test_labels=test_labels.astype(np.int32),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(entry: Path, dataset: Dataset) -> None:
    """Write an entry atomically: a reader sees all of it or nothing. The caller holds the lock."""
    remove_unfinished(entry.parent, entry.name)
    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    header = {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "layout": dataset.layout,
        "class_names": dataset.class_names,
        "shapes": {name: array.shape for name, array in arrays.items()},
    }
    with replacing(entry) as stream:
        line = json.dumps(header).encode()
        stream.write((_digest(line) + b"\n" + line).ljust(HEADER_BYTES))
        for array in arrays.values():
            stream.write(np.ascontiguousarray(array, np.uint8).data)


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest().encode()
