"""Is this CIFAR-10? The checks that hold for every layout, between decoding and use."""

from pathlib import Path

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import IMAGE_SHAPE, Decoded, Images, Labels
from harness.data.layouts.source import ANOTHER_COPY

TRAIN_IMAGES = 50_000
TEST_IMAGES = 10_000


def validate(decoded: Decoded, where: Path) -> None:
    """Raise BadInput, naming `where`, unless counts, shapes, labels and classes are those of CIFAR-10."""
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
