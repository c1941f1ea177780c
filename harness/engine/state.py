"""States of networks and optimizers, and the structure that a compiled program is made for."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

from harness.config import Network, Precision, Recipe, RunConfig
from harness.data import Split
from harness.engine.initial import chosen_kernels
from harness.engine.network import PixelStatistics, build
from harness.engine.pixels import pixels_of
from harness.engine.protocol import State


def named(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the variables of a network by their names in a state."""
    variables = {f"model/{variable.path}": variable for variable in model.variables}
    assert len(variables) == len(model.variables), "two variables of one name: a state would hold only one of them"
    return variables


def named_slots(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Return the variables of a built optimizer by their names in a state."""
    return {f"optimizer/{variable.path}": variable for variable in optimizer.variables}


def averaged_of(model: keras.Model, recipe: Recipe) -> dict[str, keras.Variable]:
    """Return the variables of a network that its recipe averages, by the names of their averages in a state.

    They are all weights, moving statistics included; none if `weight_averaging` is off.
    """
    if recipe.weight_averaging == "off":
        return {}
    return {
        f"average/{variable.path}": variable
        for variable in model.variables
        if not variable.path.endswith(("/seed_generator_state", "/traced_rate"))
    }


def initial_state(config: RunConfig, split: Split, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    """Return the state of a newly built network and of an optimizer before its first step."""
    weights = {name: np.asarray(variable) for name, variable in named(model).items()}
    for path, kernel in chosen_kernels(config.network, model, split, pixels_of(split)):
        weights[f"model/{path}"] = kernel
    averages = {name: weights[f"model/{v.path}"] for name, v in averaged_of(model, config.recipe).items()}
    # Every optimizer here starts with zeros: its moments and its step count.
    slots = {name: np.zeros(variable.shape, variable.dtype) for name, variable in named_slots(optimizer).items()}
    return weights | averages | slots


def evaluated(state: State) -> State:
    """Return the state whose weights are the averages, where there are averages."""
    averages = {name.replace("average/", "model/", 1): v for name, v in state.items() if name.startswith("average/")}
    return {**state, **averages}


def export(config: RunConfig, pixels: PixelStatistics, state: State) -> keras.Model:
    """Return the trained network; see `harness.engine.protocol.Engine.export`."""
    keras.backend.clear_session()  # Keras appends numbers to names that are in use: reset them
    plain = build(config.network, config.recipe, config.seed, *pixels)
    weights = evaluated(state)
    # Only the weights: plain dropout layers name their generators differently, and inference does not use them.
    for weight in plain.weights:
        weight.assign(np.asarray(weights[f"model/{weight.path}"]))
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
    """Return the structure of a run. Seed, initial kernels, schedule, augmentation and numbers do not change it.

    dropout_everywhere: if there is any dropout, compile all four dropout layers.
    """
    rates = config.recipe.dropout
    any_of_them = dropout_everywhere and any(rates)
    a, b, c, d = (0.5 if rate or any_of_them else 0.0 for rate in rates)
    recipe = dataclasses.replace(
        config.recipe, epochs=1, batch_size=2, learning_rate=1.0, schedule="constant", warmup=0.0,
        momentum=0.5 if config.recipe.momentum else 0.0, weight_decay=1.0, label_smoothing=0.0,
        dropout=(a, b, c, d), dropout_ramp=False, flip=False, shift=0, sgd_ratio=1.0, alternating_flip=False,
        averaging_decay=0.0, averaging_interval=1, final_rate=0.0, decay_power=1.0,
    )  # fmt: skip
    network = dataclasses.replace(config.network, input_scaling="raw", first_layer="random", dirac=0.0)
    return Structure(network, recipe, config.precision)
