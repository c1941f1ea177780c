"""The forward and backward passes of the probes, compiled by TensorFlow."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config import Network
from harness.engine.probes import GRADIENT_CHANGE_LAYERS, Look, ProbedNetwork
from harness.engine.tensorflow.program import FusedBatchNormalization


class TensorFlowPasses:
    """See `harness.engine.probes.Passes`."""

    def __init__(self, network: Network) -> None:
        self.network = ProbedNetwork(network, FusedBatchNormalization, keras.layers.MaxPooling2D)
        self._variables = self.network.model.trainable_variables
        self._kernels = {layer: self._variables[i] for layer, i in self.network.kernels.items()}
        # Nothing here needs AutoGraph, and tracing is faster without it.
        self._pass = tf.function(self._gradients_and_tensors, autograph=False)
        self._describe = tf.function(self.network.describe, autograph=False)
        self._gradients = {
            layer: tf.function(functools.partial(self._gradient_of, layer), autograph=False)
            for layer in GRADIENT_CHANGE_LAYERS
        }

    def look(
        self, weights: Sequence[np.ndarray], moved: Sequence[np.ndarray], inputs: np.ndarray, targets: np.ndarray
    ) -> Look:
        images, wanted = tf.constant(inputs), tf.constant(targets)
        with _float32():
            self._write(weights)
            gradients, tensors = self._pass(images, wanted)
            described = self._describe(tensors)
            changed = []
            for layer in GRADIENT_CHANGE_LAYERS:
                # The weights are in layer order: those before the kernel belong to the layers below. The layers are in
                # order too, so what moved for one of them has moved for the next.
                self._write(moved[: self.network.kernels[layer]])
                changed.append(self._gradients[layer](images, wanted))
            return Look(gradients, described, changed)

    def _write(self, weights: Sequence[np.ndarray]) -> None:
        for variable, weight in zip(self._variables, weights, strict=False):
            variable.assign(weight)

    def _loss(self, inputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        logits, *tensors = self.network.model(inputs, training=True)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits)), tensors

    def _gradients_and_tensors(self, inputs: Any, targets: Any) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            loss, tensors = self._loss(inputs, targets)
        return tape.gradient(loss, list(self._kernels.values())), tensors

    def _gradient_of(self, layer: str, inputs: Any, targets: Any) -> Any:
        # The backward pass ends at this layer's kernel.
        with tf.GradientTape() as tape:
            loss, _ = self._loss(inputs, targets)
        return tape.gradient(loss, self._kernels[layer])


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Compute in full float32 inside the block: no bfloat16 in a CPU's convolutions, no TF32 on a GPU.

    Rounding to bfloat16 alone changes a gradient by up to 9 % (docs/speed.md). TF32 keeps 10 of the 23 bits of a
    number's mantissa, in convolutions and matrix products.
    """
    # TensorFlow reads this option at each call of a compiled function, and caches a compilation for each value.
    option = "auto_mixed_precision_onednn_bfloat16"
    set_before = tf.config.optimizer.get_experimental_options().get(option, False)
    rounded_before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.optimizer.set_experimental_options({option: False})
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(rounded_before)
        tf.config.optimizer.set_experimental_options({option: set_before})
