"""States of Keras networks and optimizers: the names of their arrays, and their values before the first epoch."""

import keras
import numpy as np

from harness.config import RunConfig
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
