"""The forward and backward passes of the probes, compiled by JAX."""

from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np

from harness.config import Network
from harness.engine.jax.program import cross_entropy
from harness.engine.layers import FirstMaxPooling2D
from harness.engine.probes import GRADIENT_CHANGE_LAYERS, Look, ProbedNetwork


class JaxPasses:
    """See `harness.engine.probes.Passes`. One program, because each one costs seconds of compilation on a GPU."""

    def __init__(self, network: Network) -> None:
        self.network = ProbedNetwork(network, keras.layers.BatchNormalization, FirstMaxPooling2D)
        self._kernels = list(self.network.kernels.values())
        self._fixed = [variable.value for variable in self.network.model.non_trainable_variables]
        self._program = jax.jit(self._look)

    def look(
        self, weights: Sequence[np.ndarray], moved: Sequence[np.ndarray], inputs: np.ndarray, targets: np.ndarray
    ) -> Look:
        with jax.default_matmul_precision("highest"):
            return jax.device_get(self._program(list(weights), list(moved), inputs, targets))

    def _look(self, weights: list[Any], moved: list[Any], inputs: Any, targets: Any) -> Look:
        def loss(kernels: list[Any]) -> tuple[Any, list[Any]]:
            replaced = dict(zip(self._kernels, kernels, strict=True))
            return self._loss([replaced.get(i, weight) for i, weight in enumerate(weights)], inputs, targets)

        gradients, tensors = jax.grad(loss, has_aux=True)([weights[i] for i in self._kernels])
        changed = []
        for layer in GRADIENT_CHANGE_LAYERS:
            # The weights are in layer order: those before the kernel belong to the layers below.
            i = self.network.kernels[layer]

            def changed_loss(kernel: Any, i: int = i) -> Any:
                return self._loss([*moved[:i], kernel, *weights[i + 1 :]], inputs, targets)[0]

            changed.append(jax.grad(changed_loss)(weights[i]))
        return Look(gradients, self.network.describe(tensors), changed)

    def _loss(self, weights: list[Any], inputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        (logits, *tensors), _ = self.network.model.stateless_call(weights, self._fixed, inputs, training=True)
        return cross_entropy(logits, targets), tensors
