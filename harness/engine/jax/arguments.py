"""What a program is compiled for, and what it is told of a run and of the steps of an epoch.

What runs of one network may differ in (seed, learning rate, momentum, weight decay, dropout rates, label smoothing,
input scaling, shifts) are arguments of the program and no constants of it, so it is compiled once for all of them.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.config import Network, Precision, RunConfig
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
    """What a run is told: `reach` is its largest shift in pixels; a pixel p is fed as (p - offset) / unit."""

    momentum: Any
    weight_decay: Any
    label_smoothing: Any
    reach: Any
    offset: Any
    unit: Any


@dataclass(frozen=True)
class Structure:
    """What a program is compiled for. `momentum` and `dropout` say whether there is any.

    Where there is any dropout, all four layers of it are there.
    """

    network: Network
    optimizer: Any
    momentum: bool
    normalization_momentum: float
    dropout: bool
    precision: Precision


def structure_of(config: RunConfig) -> Structure:
    """What a run shares its program with."""
    recipe = config.recipe
    return Structure(
        network=dataclasses.replace(config.network, input_scaling="raw"),
        optimizer=recipe.optimizer,
        momentum=recipe.momentum > 0,
        normalization_momentum=recipe.normalization_momentum,
        dropout=any(recipe.dropout),
        precision=config.precision,
    )


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
        reach=np.int32(recipe.shift),
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
