"""The optimizers that a recipe may name."""

import keras

from harness.config import Recipe
from harness.engine.muon import Muon


def build_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a recipe; its learning rate is set anew at every step."""
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    if recipe.optimizer == "muon":
        optimizer = Muon(rate, momentum=recipe.momentum, weight_decay=decay)
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
