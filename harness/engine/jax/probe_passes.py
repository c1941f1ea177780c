"""The forward and backward passes of the probes, compiled by JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras

from harness.config import Network
from harness.engine.jax.program import cross_entropy
from harness.engine.layers import FirstMaxPooling2D
from harness.engine.probes import ProbedNetwork


class JaxPasses:
    """See `harness.engine.probes.Passes`. One program for the gradients of all layers: compiling takes seconds."""

    def __init__(self, network: Network) -> None:
        self.network = ProbedNetwork(network, keras.layers.BatchNormalization, FirstMaxPooling2D)
        self._kernels = list(self.network.kernels.values())
        self._fixed = [variable.value for variable in self.network.model.non_trainable_variables]
        self._gradients = jax.jit(self._loss_gradients)
        self._describe = jax.jit(self._described)

    def gradients(self, weights: Sequence[Any], inputs: Any, targets: Any) -> Sequence[Any]:
        with jax.default_matmul_precision("highest"):
            return jax.device_get(self._gradients(list(weights), inputs, targets))

    def describe(self, weights: Sequence[Any], inputs: Any) -> Sequence[Mapping[str, Any]]:
        with jax.default_matmul_precision("highest"):
            return jax.device_get(self._describe(list(weights), inputs))

    def _loss_gradients(self, weights: list[Any], inputs: Any, targets: Any) -> list[Any]:
        def loss(kernels: list[Any]) -> Any:
            replaced = dict(zip(self._kernels, kernels, strict=True))
            logits, *_ = self._outputs([replaced.get(i, weight) for i, weight in enumerate(weights)], inputs)
            return cross_entropy(logits, targets)

        return jax.grad(loss)([weights[i] for i in self._kernels])

    def _described(self, weights: list[Any], inputs: Any) -> list[dict[str, Any]]:
        _, *tensors = self._outputs(weights, inputs)
        return self.network.describe(tensors)

    def _outputs(self, weights: list[Any], inputs: Any) -> list[Any]:
        return self.network.model.stateless_call(weights, self._fixed, inputs, training=True)[0]
