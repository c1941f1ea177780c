"""The interface of the engines, which train networks. Code outside this folder must not depend on a certain engine.

An engine keeps no state between calls. State is an argument and a return value: a mapping from names to arrays with
everything that the next epoch depends on (weights, optimizer slots, normalization statistics, dropout seeds). A name
means the same in every engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

#: name -> array: anything `numpy.asarray` accepts, so arrays may stay on an accelerator.
State = Mapping[str, Any]


@dataclass(frozen=True)
class TrainMetrics:
    """Mean metrics of the training batches of an epoch: with dropout and augmentation, while the weights change."""

    loss: float
    accuracy: float


class Engine(Protocol):
    """Trains one configuration on one split.

    device: name of the device that it computes on. flops_per_image: FLOPs of training on one image, forward and
    backward (multiply-add = 2).
    """

    device: str
    flops_per_image: int

    def initial_state(self) -> State:
        """Return the state before the first epoch. It depends only on the config, including its seed."""

    def train_epoch(
        self, state: State, epoch: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[State, TrainMetrics]:
        """Train one epoch (counted from 0), and return the new state and the epoch's metrics.

        on_step: called with the number of steps done. The loss is the one that is minimized, label smoothing included.
        """

    def evaluate(self, state: State, images: np.ndarray) -> np.ndarray:
        """Return class probabilities float32 [N, 10] of uint8 images [N, 32, 32, 3], without dropout."""

    def probe(self, before: State, after: State, epoch: int) -> dict[str, float]:
        """Return what the probes measure in an epoch (counted from 0): see `harness.metrics.INSIDE`.

        before, after: the states before and after the epoch. The keys are "metric/layer", for example
        "gradient_norm/block1_conv1". Probing does not affect the training.
        """

    def export(self, state: State) -> Any:
        """Return the network as a plain `keras.Model`: raw pixels in, probabilities out, no layers of this package."""
