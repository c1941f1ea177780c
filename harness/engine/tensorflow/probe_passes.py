"""The forward and backward passes of the probes, compiled by TensorFlow."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.engine.probes import ProbedNetwork
from harness.engine.tensorflow.program import FusedBatchNormalization


class TensorFlowPasses:
    """See `harness.engine.probes.Passes`."""

    batch_norm = FusedBatchNormalization
    max_pool = keras.layers.MaxPooling2D

    def __init__(self, network: ProbedNetwork, images: np.ndarray, targets: np.ndarray) -> None:
        self._network = network
        self._variables = network.model.trainable_variables
        self._kernels = [self._variables[place] for place in network.kernels.values()]
        self._images, self._targets = tf.constant(images), tf.constant(targets)
        # Nothing here needs AutoGraph, and tracing is faster without it.
        self._pass = tf.function(self._gradients_and_tensors, autograph=False)
        self._describe = tf.function(network.describe, autograph=False)
        self._gradient = functools.cache(
            lambda kernel: tf.function(functools.partial(self._gradient_of, kernel), autograph=False)
        )

    def look(self, weights: Sequence[np.ndarray]) -> tuple[list[Any], list[dict[str, Any]]]:
        with _float32():
            self._write(weights)
            gradients, tensors = self._pass()
            return gradients, self._describe(tensors)

    def gradient(self, kernel: int, weights: Sequence[np.ndarray]) -> Any:
        with _float32():
            self._write(weights)
            return self._gradient(kernel)()

    def _write(self, weights: Sequence[np.ndarray]) -> None:
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)

    def _loss(self) -> tuple[Any, list[Any]]:
        logits, *tensors = self._network.model(tf.cast(self._images, tf.float32), training=True)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(self._targets, logits)), tensors

    def _gradients_and_tensors(self) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            loss, tensors = self._loss()
        return tape.gradient(loss, self._kernels), tensors

    def _gradient_of(self, kernel: int) -> Any:
        # The backward pass ends at this kernel's layer.
        with tf.GradientTape() as tape:
            loss, _ = self._loss()
        return tape.gradient(loss, self._kernels[kernel])


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
