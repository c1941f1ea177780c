"""Learning rate schedule and dropout ramp, as pure functions of the step."""

import numpy as np

from harness.config import Recipe


def learning_rates(recipe: Recipe, steps_per_epoch: int, epoch: int) -> np.ndarray:
    """Return the learning rate of every step of an epoch (counted from 0), float32 [steps_per_epoch].

    `one-cycle` (Smith & Topin 2018) rises linearly from 0 to the peak during the fraction `warmup` of all steps, and
    then falls to `final_rate` of it, linearly if `decay_power` is 1. `constant` rises in the same way and stays at the
    peak.
    """
    total = recipe.epochs * steps_per_epoch
    step = epoch * steps_per_epoch + np.arange(steps_per_epoch) + 1
    rise = max(recipe.warmup * total, 1.0)
    factor = np.minimum(step / rise, 1.0)
    if recipe.schedule == "one-cycle":
        # The end would be reached only at the step after the last, so that no step has no effect.
        left = np.minimum((total + 1 - step) / (total + 1 - min(rise, total)), 1.0)
        factor = np.minimum(factor, recipe.final_rate + (1 - recipe.final_rate) * left**recipe.decay_power)
    return (recipe.learning_rate * factor).astype(np.float32)


def dropout_ramp(recipe: Recipe, steps_per_epoch: int, epoch: int) -> np.ndarray:
    """Return the factor on the dropout rates at each step of an epoch, float32 [steps_per_epoch], from 0 to 1."""
    if not recipe.dropout_ramp:
        return np.ones(steps_per_epoch, np.float32)
    step = epoch * steps_per_epoch + np.arange(steps_per_epoch)
    return (step / (recipe.epochs * steps_per_epoch)).astype(np.float32)


def averaging_keep(recipe: Recipe, steps_per_epoch: int, epoch: int) -> np.ndarray:
    """Return what the average of the weights keeps of itself after each step of an epoch, float32 [steps_per_epoch].

    It is 1 after the steps at which the average is not updated. An epoch ends with an update, so that what is evaluated
    has seen all of it.
    """
    total = recipe.epochs * steps_per_epoch
    step = epoch * steps_per_epoch + np.arange(steps_per_epoch) + 1
    is_due = (step % recipe.averaging_interval == 0) | (step % steps_per_epoch == 0)
    keep = recipe.averaging_decay * (step / total) ** 3
    return np.where(is_due, keep, 1.0).astype(np.float32)
