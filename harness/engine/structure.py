"""The structure that a program is compiled for. Runs with the same structure share one program."""

import dataclasses
from dataclasses import dataclass

from harness.config import Network, Precision, Recipe, RunConfig


@dataclass(frozen=True)
class Structure:
    """The part of a configuration that is compiled into a program.

    Settings that are arguments of a program have fixed values in `recipe`. Any other setting, a new one too, is part of
    the structure: its values get separate programs.
    """

    network: Network
    recipe: Recipe
    precision: Precision


def structure_of(config: RunConfig, *, dropout_everywhere: bool = False) -> Structure:
    """Return the structure of a run. Seed, schedule, augmentation and numeric settings do not change it.

    dropout_everywhere: if there is any dropout, compile all four dropout layers.
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
