"""States of Keras networks and optimizers: what their arrays are called, and what they are before the first epoch."""

import keras
import numpy as np

from harness.config import RunConfig
from harness.engine.network import PixelStatistics, build
from harness.engine.protocol import State


def named(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a network by the names that they have in a state."""
    variables = {f"model/{variable.path}": variable for variable in model.variables}
    assert len(variables) == len(model.variables), "two variables of one name: a state would hold only one of them"
    return variables


def named_slots(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """The variables of an optimizer that is built, likewise."""
    return {f"optimizer/{variable.path}": variable for variable in optimizer.variables}


def initial_state(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    """The state of a network as it was built, and of an optimizer that has done nothing yet."""
    # Every optimizer here starts from nothing: zero moments, zero steps.
    return {name: np.asarray(variable) for name, variable in named(model).items()} | {
        name: np.zeros(variable.shape, variable.dtype) for name, variable in named_slots(optimizer).items()
    }


def export(config: RunConfig, pixels: PixelStatistics, state: State) -> keras.Model:
    """See `harness.engine.Engine.export`."""
    keras.backend.clear_session()  # Keras numbers what it has named before: for the same names
    plain = build(config.network, config.recipe, config.seed, *pixels)
    # The weights alone: plain dropout names its generators otherwise, and where the model is used they draw nothing.
    for weight in plain.weights:
        weight.assign(np.asarray(state[f"model/{weight.path}"]))
    return plain
