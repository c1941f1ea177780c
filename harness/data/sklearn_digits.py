"""scikit-learn's handwritten digits in the shape of CIFAR-10: real images that need no download."""

import numpy as np

from harness.common.lazy import lazy_import
from harness.data.dataset import Dataset, fingerprint

datasets = lazy_import("sklearn.datasets")
model_selection = lazy_import("sklearn.model_selection")

TEST_SHARE = 0.2
SPLIT_SEED = 0  # fixed, because the name `digits` stands for one choice of test images


def digits() -> Dataset:
    """Return the 1,797 digits of `sklearn.datasets.load_digits`: 1,437 training and 360 test images, stratified.

    The 8x8 pixels of 0..16 become 32x32x3 of 0..255, each pixel a block of 4x4. The digits serve to try the harness
    without CIFAR-10: a result on them says nothing about CIFAR-10 and is never compared with one.
    """
    bunch = datasets.load_digits()
    pixels = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    large = pixels.repeat(4, axis=1).repeat(4, axis=2)
    images = np.repeat(large[..., np.newaxis], 3, axis=3)
    labels = bunch.target.astype(np.int32)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, stratify=labels, random_state=SPLIT_SEED
    )
    train.sort()
    test.sort()
    arrays = (images[train], labels[train], images[test], labels[test])
    return Dataset(
        "digits",
        fingerprint(*arrays),
        "scikit-learn (load_digits)",
        "bundled with scikit-learn",
        tuple(str(digit) for digit in range(10)),
        *arrays,
    )
