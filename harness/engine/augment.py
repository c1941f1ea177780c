"""Order and augmentation of the images, as functions of (seed, epoch): no generator state is lost in a crash."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.config import Recipe, ShiftMode


@dataclass(frozen=True)
class EpochPlan:
    """The images of each step of an epoch, and how each image is flipped and shifted.

    order: int64 [N], a permutation of the training images; step k takes rows [k*batch, (k+1)*batch).
    flip: bool [N]; shift: int64 [N, 2], the row and column offsets into the padded image, 0..2*shift.
    Row i of `flip` and `shift` belongs to image `order[i]`.
    """

    order: np.ndarray
    flip: np.ndarray
    shift: np.ndarray


def epoch_plan(recipe: Recipe, seed: int, epoch: int, images: int) -> EpochPlan:
    """Return the plan of one epoch (counted from 0) over `images` training images."""
    streams = _streams(seed, epoch)
    order = streams.order.permutation(images)
    if not recipe.flip:
        flip = np.zeros(images, bool)
    elif recipe.alternating_flip:
        first = _streams(seed, 0).flip.random(images) < 0.5
        flip = first[order] ^ bool(epoch % 2)
    else:
        flip = streams.flip.random(images) < 0.5
    shift = streams.shift.integers(0, 2 * recipe.shift, (images, 2), endpoint=True)
    return EpochPlan(order, flip, shift)


class _Streams(NamedTuple):
    """Independent random numbers: switching one augmentation off does not change the order or the other one."""

    order: np.random.Generator
    flip: np.random.Generator
    shift: np.random.Generator


def _streams(seed: int, epoch: int) -> _Streams:
    sequences = np.random.SeedSequence((seed, epoch)).spawn(3)
    return _Streams(*(np.random.Generator(np.random.Philox(sequence)) for sequence in sequences))


def padded(images: np.ndarray, shift: int, mode: ShiftMode = "reflect") -> np.ndarray:
    """Pad images uint8 [N, H, W, 3] by `shift` pixels on each side: [N, H + 2*shift, W + 2*shift, 3]."""
    of_numpy: Any = "constant" if mode == "zero" else mode
    return np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode=of_numpy) if shift else images


def batch(images: np.ndarray, plan: EpochPlan, rows: slice, shift: int) -> np.ndarray:
    """Return the augmented batch uint8 [B, 32, 32, 3] of some rows of the plan: crop and flip `padded` images."""
    order, flip, shifts = plan.order[rows], plan.flip[rows], plan.shift[rows]
    size = images.shape[1] - 2 * shift
    made = np.empty((len(order), size, size, images.shape[3]), images.dtype)
    # A loop, because picking all windows at once with NumPy's indexing is slower.
    for place, (image, is_flipped, (down, right)) in enumerate(zip(order, flip, shifts, strict=True)):
        window = images[image, down : down + size, right : right + size]
        made[place] = window[:, ::-1] if is_flipped else window
    return made
