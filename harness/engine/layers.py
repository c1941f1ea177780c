"""The training-time twins of two Keras layers: same weights, same mathematics."""

from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` as one fused TensorFlow operation.

    Keras 3 builds it from about ten element-wise operations, each a pass through memory. Input
    [B, H, W, C] with C normalized; output and moving statistics are Keras's own to rounding error.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return tf.compat.v1.nn.fused_batch_norm(
                inputs,
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                self.epsilon,
                is_training=False,
            )[0]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The fused operation returns the unbiased variance; Keras's moving variance is of the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
        variance *= (count - 1) / count
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
        self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        return outputs


class TracedDropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose rate, while training, is the variable `traced_rate`.

    A Keras rate is a Python constant, frozen into the compiled step; this one can rise during a run, and runs that
    differ in it share the step. A layer made with rate 0 is no operation at all.
    """

    def build(self, input_shape: Any) -> None:
        if self.rate > 0:
            self.traced_rate = self.add_weight(name="traced_rate", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        rate = keras.ops.cast(self.traced_rate, inputs.dtype)
        draw = keras.random.uniform(keras.ops.shape(inputs), dtype=inputs.dtype, seed=self.seed_generator)
        return keras.ops.where(draw >= rate, inputs / (1 - rate), 0)
