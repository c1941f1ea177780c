"""The optimizers that a recipe may name."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from harness.config import Recipe
from harness.engine.muon import Muon


def build_optimizer(recipe: Recipe, *, grouped: bool = False) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a recipe; its learning rate is set anew at every step. grouped: see `Muon`."""
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    if recipe.optimizer == "muon":
        optimizer = Muon(rate, momentum=recipe.momentum, weight_decay=decay, grouped=grouped)
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class Told:
    """A number that a compiled program is told, as Keras reads one of an optimizer's own while a step is traced.

    Keras asks whether it is zero, multiplies with it, and takes it from 1. `complement` is 1 minus the number, where
    the program is told that too: to the last bit it is another one if it is first computed in float32.
    """

    def __init__(self, value: Any, complement: Any = None) -> None:
        self._value, self._complement = value, complement

    def __ne__(self, other: object) -> bool:
        # Where it is zero the program is another one, in which nobody asks.
        return True

    def __mul__(self, other: Any) -> Any:
        return self._value * other

    def __rsub__(self, other: Any) -> Any:
        return other - self._value if self._complement is None else self._complement

    def __jax_array__(self) -> Any:
        return self._value

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self._value


@contextlib.contextmanager
def told(optimizer: keras.optimizers.Optimizer, weight_decay: Any, momentum: Told | None) -> Iterator[None]:
    """Meanwhile the optimizer has these settings, values of the program that is being traced; None: none to be told."""
    settings = {"weight_decay": weight_decay}
    if momentum is not None:
        settings["beta_1" if hasattr(optimizer, "beta_1") else "momentum"] = momentum
    own = {name: getattr(optimizer, name) for name in settings}
    # Not through Keras, which would take notice of each attribute that is set.
    vars(optimizer).update(settings)
    try:
        yield
    finally:
        vars(optimizer).update(own)
