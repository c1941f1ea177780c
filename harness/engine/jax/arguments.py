"""The arguments of a compiled program: the settings of a run, and the inputs of each step of an epoch.

Settings in which runs of one network may differ (seed, learning rates, momentum, weight decay, dropout rates, label
smoothing, input scaling, shifts) are arguments and not constants of the program, so it is compiled only once.
"""

from typing import Any, NamedTuple

import numpy as np

from harness.config import RunConfig
from harness.engine import augment, schedule
from harness.engine.network import PixelStatistics


class Steps(NamedTuple):
    """The inputs of the steps of an epoch: arrays whose first axis is the step.

    order: int32 [S, B], flip: bool [S, B], shift: int32 [S, B, 2]; rate: float32 [S]; dropout: float32 [S, 4]; keep:
    float32 [S], what averages of weights keep of themselves.
    """

    order: Any
    flip: Any
    shift: Any
    rate: Any
    dropout: Any
    keep: Any


class Settings(NamedTuple):
    """The settings of a run. max_shift: in pixels. A pixel p enters the network as (p - offset) / unit."""

    momentum: Any
    weight_decay: Any
    sgd_ratio: Any
    label_smoothing: Any
    max_shift: Any
    offset: Any
    unit: Any


def settings_of(config: RunConfig, pixels: PixelStatistics) -> Settings:
    """Return the settings of a run for the program. pixels: statistics of its training images."""
    offset, unit = {
        "raw": ((0.0,) * 3, (1.0,) * 3),
        "unit": ((0.0,) * 3, (255.0,) * 3),
        "standardised": pixels,
    }[config.network.input_scaling]
    recipe = config.recipe
    return Settings(
        momentum=np.float32(recipe.momentum),
        weight_decay=np.float32(recipe.weight_decay),
        sgd_ratio=np.float32(recipe.sgd_ratio),
        label_smoothing=np.float32(recipe.label_smoothing),
        max_shift=np.int32(recipe.shift),
        offset=np.asarray(offset, np.float32),
        unit=np.asarray(unit, np.float32),
    )


def steps_of(config: RunConfig, epoch: int, images: int) -> Steps:
    """Return the inputs of the steps of an epoch. Batches are full: the remaining images are not used in this epoch."""
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
        keep=schedule.averaging_keep(recipe, count, epoch),
    )
