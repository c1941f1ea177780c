"""The forward and backward passes of the probes, compiled by JAX."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from harness.engine.jax.program import cross_entropy
from harness.engine.layers import FirstMaxPooling2D
from harness.engine.probes import ProbedNetwork


class JaxPasses:
    """See `harness.engine.probes.Passes`."""

    batch_norm = keras.layers.BatchNormalization
    max_pool = FirstMaxPooling2D

    def __init__(self, network: ProbedNetwork, images: np.ndarray, targets: np.ndarray) -> None:
        self._network = network
        self._kernels = list(network.kernels.values())
        self._fixed = [variable.value for variable in network.model.non_trainable_variables]
        self._images, self._targets = jnp.asarray(images, jnp.float32), jnp.asarray(targets)
        self._pass = jax.jit(self._gradients_and_description)
        self._gradient = jax.jit(self._gradient_of, static_argnums=0)

    def look(self, weights: Sequence[np.ndarray]) -> tuple[list[Any], list[dict[str, Any]]]:
        with jax.default_matmul_precision("highest"):
            return self._pass(list(weights))

    def gradient(self, kernel: int, weights: Sequence[np.ndarray]) -> Any:
        with jax.default_matmul_precision("highest"):
            return self._gradient(kernel, list(weights))

    def _gradients_and_description(self, weights: list[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        gradients, tensors = jax.grad(partial(self._loss, weights), has_aux=True)([weights[i] for i in self._kernels])
        return gradients, self._network.describe(tensors)

    def _gradient_of(self, kernel: int, weights: list[Any]) -> Any:
        def loss(value: Any) -> Any:
            kernels = [weights[i] for i in self._kernels]
            kernels[kernel] = value
            return self._loss(weights, kernels)[0]

        return jax.grad(loss)(weights[self._kernels[kernel]])

    def _loss(self, weights: list[Any], kernels: list[Any]) -> tuple[Any, list[Any]]:
        weights = list(weights)
        for place, kernel in zip(self._kernels, kernels, strict=True):
            weights[place] = kernel
        (logits, *tensors), _ = self._network.model.stateless_call(weights, self._fixed, self._images, training=True)
        return cross_entropy(logits, self._targets), tensors
