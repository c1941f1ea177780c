"""What a compiled program is told of a run, and of the steps of an epoch.

What runs of one network may differ in (seed, learning rate, momentum, weight decay, dropout rates, label smoothing,
input scaling, shifts) are arguments of the program and no constants of it, so it is compiled once for all of them.
"""

from typing import Any, NamedTuple

import numpy as np

from harness.config import RunConfig
from harness.engine import augment, schedule
from harness.engine.network import PixelStatistics


class Steps(NamedTuple):
    """What the steps of an epoch are told: arrays whose first axis is the step.

    order: int32 [S, B], flip: bool [S, B], shift: int32 [S, B, 2]; rate: float32 [S]; dropout: float32 [S, 4].
    """

    order: Any
    flip: Any
    shift: Any
    rate: Any
    dropout: Any


class Settings(NamedTuple):
    """What a run is told: `max_shift` is its largest shift in pixels; a pixel p is fed as (p - offset) / unit."""

    momentum: Any
    weight_decay: Any
    label_smoothing: Any
    max_shift: Any
    offset: Any
    unit: Any


def settings_of(config: RunConfig, pixels: PixelStatistics) -> Settings:
    """What the program is told of a run."""
    offset, unit = {
        "raw": ((0.0,) * 3, (1.0,) * 3),
        "unit": ((0.0,) * 3, (255.0,) * 3),
        "standardised": pixels,
    }[config.network.input_scaling]
    recipe = config.recipe
    return Settings(
        momentum=np.float32(recipe.momentum),
        weight_decay=np.float32(recipe.weight_decay),
        label_smoothing=np.float32(recipe.label_smoothing),
        max_shift=np.int32(recipe.shift),
        offset=np.asarray(offset, np.float32),
        unit=np.asarray(unit, np.float32),
    )


def steps_of(config: RunConfig, epoch: int, images: int) -> Steps:
    """What the steps of an epoch are told. Batches are whole: the images left over at the end sit it out."""
    recipe = config.recipe
    count = images // recipe.batch_size
    plan = augment.epoch_plan(recipe, config.seed, epoch, images)

    def by_step(values: np.ndarray) -> np.ndarray:
        return values[: count * recipe.batch_size].reshape(count, recipe.batch_size, *values.shape[1:])

    return Steps(
        order=by_step(plan.order.astype(np.int32)),
        flip=by_step(plan.flip),
        shift=by_step(plan.shift.astype(np.int32)),
        rate=schedule.learning_rates(recipe, count, epoch),
        dropout=np.outer(schedule.dropout_ramp(recipe, count, epoch), recipe.dropout).astype(np.float32),
    )
