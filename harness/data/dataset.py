"""The data as everything else sees it: labelled images, a name, and the fingerprint behind the name."""

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
    """What a reader brings back, not yet checked: images uint8 [n, 32, 32, 3], labels integer [n]."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...] = CIFAR10_CLASSES
    verified: bool = False  # read from an archive that has the authors' own checksum


@dataclass(frozen=True, eq=False)
class Dataset:
    """One complete data set, checked.

    `name` is `cifar10` (the official pixels), `cifar10-jpeg75`, `cifar10-<hash8>` or `digits`. It goes on every
    run, table and plot: results on different data are never compared.
    """

    name: str
    fingerprint: str  # hex sha256 of the decoded content, see `fingerprint`
    source: str  # the file or folder it was read from
    layout: str  # how it was stored there, in words
    class_names: tuple[str, ...]
    train_images: Images  # uint8 [50000, 32, 32, 3], RGB, 0..255
    train_labels: npt.NDArray[np.int32]  # int32 [50000], 0..9
    test_images: Images  # uint8 [10000, 32, 32, 3]
    test_labels: npt.NDArray[np.int32]  # int32 [10000]


def fingerprint(train_images: Images, train_labels: Labels, test_images: Images, test_labels: Labels) -> str:
    """The hex sha256 of the decoded content: the four arrays as uint8 bytes in this order, then their shapes.

    It sees pixels, labels and their order, and nothing of the files they came in.
    """
    arrays = (train_images, train_labels, test_images, test_labels)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.uint8).data)
    digest.update(json.dumps([array.shape for array in arrays]).encode())
    return digest.hexdigest()
