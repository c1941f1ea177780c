"""The data set: labelled images, a name, and the fingerprint that determines the name."""

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

IMAGE_SHAPE = (32, 32, 3)

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer]


class Decoded(NamedTuple):
    """What a reader returns, not yet checked: images uint8 [n, 32, 32, 3], labels integer [n]."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...] = CIFAR10_CLASSES
    verified: bool = False  # read from an archive that has the authors' own checksum


@dataclass(frozen=True, eq=False)
class Dataset:
    """A complete and checked data set.

    `name` is `cifar10` (the official pixels), `cifar10-jpeg75`, `cifar10-<hash8>` or `digits`. Every run, table and
    plot shows it, because results on different data are never compared.
    """

    name: str
    fingerprint: str  # hex sha256 of the decoded content, see `fingerprint`
    source: str  # the file or folder it was read from
    layout: str  # name of the layout in which it was stored there
    class_names: tuple[str, ...]
    train_images: Images  # uint8 [N, 32, 32, 3], RGB, 0..255; CIFAR-10 has N = 50,000
    train_labels: npt.NDArray[np.int32]  # int32 [N], an index of class_names
    test_images: Images  # uint8 [M, 32, 32, 3]; CIFAR-10 has M = 10,000
    test_labels: npt.NDArray[np.int32]  # int32 [M]


def fingerprint(train_images: Images, train_labels: Labels, test_images: Images, test_labels: Labels) -> str:
    """Return the hex sha256 of the decoded content: the four arrays as uint8 bytes in this order, then their shapes.

    It depends on pixels, labels and their order, and not on the files in which they are stored.
    """
    arrays = (train_images, train_labels, test_images, test_labels)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.uint8).data)
    digest.update(json.dumps([array.shape for array in arrays]).encode())
    return digest.hexdigest()


# Fingerprint -> name. This one is the copy in ../shared, whose pixels were compressed as JPEG (quality 75, 4:2:0).
NAMES = {
    "2b1fe765ba08421966482a84f6680d33180e16695938d20824acc4a83e90b270": "cifar10-jpeg75",
}

# The official pixels: the sha256 of each 10,000-image file of the official binary version, as published in the Ruby
# port of torchvision (that of the test file elsewhere too). They are compared with the *decoded* content, so one table
# recognises the binary version, the python version, which has the same images, and the original Hugging Face parquet,
# which has the same batches in the order 4 3 2 5 1.
OFFICIAL_TRAIN_BATCHES = frozenset(
    {
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    }
)
OFFICIAL_TEST_BATCH = "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
BATCH = 10_000


def name_of(decoded: Decoded, fingerprint: str) -> str:
    """Return `cifar10` for the official pixels, the name in NAMES for other known contents, else `cifar10-<hash8>`."""
    if fingerprint in NAMES:
        return NAMES[fingerprint]
    if decoded.verified or _is_official(decoded):
        return "cifar10"
    return f"cifar10-{fingerprint[:8]}"


def _is_official(decoded: Decoded) -> bool:
    if _batch_digest(decoded.test_images, decoded.test_labels) != OFFICIAL_TEST_BATCH:
        return False
    starts = range(0, len(decoded.train_labels), BATCH)
    batches = [_batch_digest(decoded.train_images[i : i + BATCH], decoded.train_labels[i : i + BATCH]) for i in starts]
    return len(batches) == len(OFFICIAL_TRAIN_BATCHES) and set(batches) == OFFICIAL_TRAIN_BATCHES


def _batch_digest(images: Images, labels: Labels) -> str:
    """Return the sha256 that a file of the official binary version would have with these images."""
    records = np.empty((len(labels), 1 + 3 * 32 * 32), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
    return hashlib.sha256(records.data).hexdigest()
