"""What a compiled program is compiled for. Runs of the same structure share one, and are told the rest."""

import dataclasses
from dataclasses import dataclass

from harness.config import Network, Precision, Recipe, RunConfig


@dataclass(frozen=True)
class Structure:
    """Of the recipe, only what a program is not told: a setting that no program knows how to be told makes its own."""

    network: Network
    recipe: Recipe
    precision: Precision


def structure_of(config: RunConfig, *, dropout_everywhere: bool = False) -> Structure:
    """The structure of a run: seed, schedule, augmentation and the settings that are numbers make no other one.

    dropout_everywhere: where there is any dropout, all four layers of it are compiled.
    """
    rates = config.recipe.dropout
    any_of_them = dropout_everywhere and any(rates)
    a, b, c, d = (0.5 if rate or any_of_them else 0.0 for rate in rates)
    recipe = dataclasses.replace(
        config.recipe, epochs=1, batch_size=2, learning_rate=1.0, schedule="constant", warmup=0.0,
        momentum=0.5 if config.recipe.momentum else 0.0, weight_decay=1.0, label_smoothing=0.0,
        dropout=(a, b, c, d), dropout_ramp=False, flip=False, shift=0,
    )  # fmt: skip
    return Structure(dataclasses.replace(config.network, input_scaling="raw"), recipe, config.precision)
