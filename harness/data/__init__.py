"""CIFAR-10: found, checked, decoded once, named by its content, and split.

    dataset = data.load()               # whichever CIFAR-10 this machine has
    split = data.split(dataset, "tune") # 45,000 to train on, 5,000 to choose by; the test set stays out

Importing this package imports no decoder, no HTTP client and no plotting library.
"""

from harness.data.dataset import CIFAR10_CLASSES, Dataset
from harness.data.loader import how_to_get_cifar10, load, load_named
from harness.data.sklearn_digits import digits
from harness.data.splits import Split, split, subset

__all__ = [
    "CIFAR10_CLASSES",
    "Dataset",
    "Split",
    "digits",
    "how_to_get_cifar10",
    "load",
    "load_named",
    "split",
    "subset",
]
