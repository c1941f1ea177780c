"""The forward and backward passes of the probes, compiled by TensorFlow."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from harness.config import Network
from harness.engine.probes import ProbedNetwork
from harness.engine.tensorflow.program import FusedBatchNormalization


class TensorFlowPasses:
    """See `harness.engine.probes.Passes`."""

    def __init__(self, network: Network) -> None:
        self.network = ProbedNetwork(network, FusedBatchNormalization, keras.layers.MaxPooling2D)
        self._variables = self.network.model.trainable_variables
        self._kernels = [self._variables[i] for i in self.network.kernels.values()]
        # Nothing here needs AutoGraph, and tracing is faster without it.
        self._gradients = tf.function(self._loss_gradients, autograph=False)
        self._describe = tf.function(self._described, autograph=False)

    def gradients(self, weights: Sequence[Any], inputs: Any, targets: Any) -> Sequence[Any]:
        with _float32():
            self._write(weights)
            return self._gradients(tf.constant(inputs), tf.constant(targets))

    def describe(self, weights: Sequence[Any], inputs: Any) -> Sequence[Mapping[str, Any]]:
        with _float32():
            self._write(weights)
            return self._describe(tf.constant(inputs))

    def _write(self, weights: Sequence[Any]) -> None:
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)

    def _loss_gradients(self, inputs: Any, targets: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            logits, *_ = self.network.model(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        return tape.gradient(loss, self._kernels)

    def _described(self, inputs: Any) -> list[dict[str, Any]]:
        _, *tensors = self.network.model(inputs, training=True)
        return self.network.describe(tensors)


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
