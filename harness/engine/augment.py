"""Order and augmentation, as functions of (seed, epoch): no generator has a history to lose at a crash."""

from dataclasses import dataclass

import numpy as np

from harness.config import Recipe


@dataclass(frozen=True)
class EpochPlan:
    """Which image each step sees, and how it is moved.

    order: int64 [N], a permutation of the training images; step k takes rows [k*batch, (k+1)*batch).
    flip: bool [N]; shift: int64 [N, 2], the row and column offsets into the padded image, 0..2*shift.
    Row i of `flip` and `shift` belongs to `order[i]`.
    """

    order: np.ndarray
    flip: np.ndarray
    shift: np.ndarray


def epoch_plan(recipe: Recipe, seed: int, epoch: int, images: int) -> EpochPlan:
    """The plan of one epoch over `images` training images; epochs are counted from 0."""
    # Independent streams, so that switching one augmentation off leaves order and the others as they are.
    order, flip, shift = (
        np.random.Generator(np.random.Philox(s)) for s in np.random.SeedSequence((seed, epoch)).spawn(3)
    )
    return EpochPlan(
        order=order.permutation(images),
        flip=flip.random(images) < 0.5 if recipe.flip else np.zeros(images, bool),
        shift=shift.integers(0, 2 * recipe.shift, (images, 2), endpoint=True),
    )


def padded(images: np.ndarray, shift: int) -> np.ndarray:
    """The images uint8 [N, H, W, 3] with so many pixels more on each side, reflected: [N, H + 2 shift, ...]."""
    return np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect") if shift else images


def batch(images: np.ndarray, plan: EpochPlan, rows: slice, shift: int) -> np.ndarray:
    """The augmented batch uint8 [B, 32, 32, 3] of some rows of the plan, out of `padded` images: crop, flip."""
    order, flip, shifts = plan.order[rows], plan.flip[rows], plan.shift[rows]
    size = images.shape[1] - 2 * shift
    made = np.empty((len(order), size, size, images.shape[3]), images.dtype)
    # One by one: for NumPy to pick all windows at once takes three times as long.
    for place, (image, is_flipped, (down, right)) in enumerate(zip(order, flip, shifts, strict=True)):
        window = images[image, down : down + size, right : right + size]
        made[place] = window[:, ::-1] if is_flipped else window
    return made
