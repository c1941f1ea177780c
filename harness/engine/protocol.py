"""What trains a network. Nothing outside this folder may know which engine it is.

An engine holds no state of its own between calls: state goes in and comes out, as a mapping from names to
arrays that holds all that the next epoch depends on (weights, optimizer slots, normalization statistics,
dropout seeds). The same names mean the same things in every engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

#: name -> array; anything `numpy.asarray` takes, so an accelerator's arrays may stay where they are.
State = Mapping[str, Any]


@dataclass(frozen=True)
class TrainMetrics:
    """Means over an epoch as it was trained: with dropout and augmentation, while the weights moved."""

    loss: float
    accuracy: float


class Engine(Protocol):
    """Trains one configuration on one split.

    `device` is what it computes on, in words; `flops_per_image` the counted operations of training on one
    image, forward and backward (multiply-add = 2).
    """

    device: str
    flops_per_image: int

    def initial_state(self) -> State:
        """The state before the first epoch: a function of the config (its seed included) alone."""

    def train_epoch(
        self, state: State, epoch: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[State, TrainMetrics]:
        """One epoch (counted from 0); `on_step` hears the number of steps done.

        The loss is the one that is minimized: with label smoothing, it includes it.
        """

    def evaluate(self, state: State, images: np.ndarray) -> np.ndarray:
        """Class probabilities float32 [N, 10] of uint8 images [N, 32, 32, 3], without dropout."""

    def probe(self, before: State, after: State, steps: int) -> dict[str, float]:
        """What happened inside the network in an epoch of that many steps: see `harness.metrics.INSIDE`.

        By name and layer, as in "gradient_norm/block1_conv1". Changes nothing that the training depends on.
        """

    def export(self, state: State) -> Any:
        """The trained network as a plain `keras.Model` (raw pixels in, probabilities out), free of this package."""
