"""The probes' passes through a network, compiled by TensorFlow."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.engine.probes import ProbedNetwork
from harness.engine.tensorflow.batch_norm import FusedBatchNormalization


class TensorFlowPasses:
    """See `harness.engine.probes.Passes`."""

    batch_norm = FusedBatchNormalization
    max_pool = keras.layers.MaxPooling2D

    def __init__(self, network: ProbedNetwork, images: np.ndarray, targets: np.ndarray) -> None:
        self._network = network
        self._variables = network.model.trainable_variables
        self._kernels = [self._variables[place] for place in network.kernels.values()]
        self._images, self._targets = tf.constant(images), tf.constant(targets)
        # Without AutoGraph, which nothing here needs, tracing takes a third less.
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
        # Below its layer there is nothing to go backward through.
        with tf.GradientTape() as tape:
            loss, _ = self._loss()
        return tape.gradient(loss, self._kernels[kernel])


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Keep a CPU's convolutions from bfloat16, whose rounding alone changes a gradient by up to 9 % (measured).

    And a GPU's convolutions and matrix products from TF32, which keeps 10 bits of a number's 23.
    """
    # TensorFlow looks at this whenever a compiled function is called; each way of compiling it is kept.
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
