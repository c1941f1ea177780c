"""Find, check, decode, name and split CIFAR-10.

    dataset = data.load()               # the copy of CIFAR-10 that this machine has
    split = data.split(dataset, "tune") # 45,000 training and 5,000 validation images; no test images

Importing this package imports no decoder, no HTTP client and no plotting library.
"""

from harness.data.dataset import CIFAR10_CLASSES, Dataset
from harness.data.loader import NotFound, how_to_get_cifar10, load, load_named
from harness.data.sklearn_digits import digits
from harness.data.splits import Split, split, subset

__all__ = [
    "CIFAR10_CLASSES",
    "Dataset",
    "NotFound",
    "Split",
    "digits",
    "how_to_get_cifar10",
    "load",
    "load_named",
    "split",
    "subset",
]
