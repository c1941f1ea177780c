"""States of networks and optimizers, and the structure that a compiled program is made for."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

from harness.config import Network, Precision, Recipe, RunConfig
from harness.engine.network import PixelStatistics, build
from harness.engine.protocol import State


def named(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the variables of a network by their names in a state."""
    variables = {f"model/{variable.path}": variable for variable in model.variables}
    assert len(variables) == len(model.variables), "two variables of one name: a state would hold only one of them"
    return variables


def named_slots(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Return the variables of a built optimizer by their names in a state."""
    return {f"optimizer/{variable.path}": variable for variable in optimizer.variables}


def initial_state(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    """Return the state of a newly built network and of an optimizer before its first step."""
    # Every optimizer here starts with zeros: its moments and its step count.
    return {name: np.asarray(variable) for name, variable in named(model).items()} | {
        name: np.zeros(variable.shape, variable.dtype) for name, variable in named_slots(optimizer).items()
    }


def export(config: RunConfig, pixels: PixelStatistics, state: State) -> keras.Model:
    """Return the trained network; see `harness.engine.protocol.Engine.export`."""
    keras.backend.clear_session()  # Keras appends numbers to names that are in use: reset them
    plain = build(config.network, config.recipe, config.seed, *pixels)
    # Only the weights: plain dropout layers name their generators differently, and inference does not use them.
    for weight in plain.weights:
        weight.assign(np.asarray(state[f"model/{weight.path}"]))
    return plain


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
