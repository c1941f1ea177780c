"""Layers that replace Keras's own during training: same weights, same mathematics."""

from typing import Any

import keras
import numpy as np
from keras import ops


class TracedDropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose rate during training is the variable `traced_rate`.

    The rate of Keras's layer is a Python constant, fixed when the step is compiled. This rate can rise during a run,
    and runs with different rates share one compiled step. A layer with rate 0 adds no operation.
    """

    def __init__(self, rate: float, seed: int | None = None, **settings: Any) -> None:
        super().__init__(0.0, **settings)
        self.rate, self.seed = rate, seed
        if rate > 0:
            # An explicit name: Keras numbers its generators, so their names depend on which other layers have dropout.
            self.seed_generator = keras.random.SeedGenerator(seed, name=f"{self.name}_seed")

    def build(self, input_shape: Any) -> None:
        if self.rate > 0:
            self.traced_rate = self.add_weight(
                name="traced_rate", shape=(), initializer="zeros", trainable=False, autocast=False
            )
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        # Draw in float32: uniform bfloat16 numbers in [0, 1) take only 128 values, which would change the rate.
        draw = keras.random.uniform(keras.ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        keep = keras.ops.cast(1 - self.traced_rate, inputs.dtype)
        return keras.ops.where(draw >= self.traced_rate, inputs / keep, 0)


class FirstMaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` over 2 x 2 windows of [B, H, W, C] with H and W even.

    Outputs and gradients are equal to Keras's bit for bit. On a GPU, XLA's gradient of max-pooling is not
    deterministic: TensorFlow refuses to compile it, JAX sorts and scatters. This layer has only element-wise
    operations, which a compiler fuses into few kernels.
    """

    def call(self, inputs: Any) -> Any:
        return first_maximum(inputs)


@ops.custom_gradient
def first_maximum(images: Any) -> tuple[Any, Any]:
    """Return the maxima [B, H/2, W/2, C] of 2 x 2 windows.

    If a window has its maximum several times, the first one, row by row, gets the whole gradient.
    """
    height, width, channels = images.shape[1:]
    windows = ops.reshape(images, (-1, height // 2, 2, width // 2, 2, channels))
    maxima = ops.max(windows, axis=(2, 4))

    def gradient(upstream: Any) -> Any:
        # The place of the first maximum, 0 to 3; 4, which no image element has, if the maximum is nan.
        place: Any = 4
        for i, j in ((1, 1), (1, 0), (0, 1), (0, 0)):
            place = ops.where(ops.equal(windows[:, :, i, :, j], maxima), 2 * i + j, place)
        places = np.arange(4, dtype=np.int32).reshape(1, 1, 2, 1, 2, 1)
        chosen = ops.equal(ops.reshape(place, (-1, height // 2, 1, width // 2, 1, channels)), places)
        spread = ops.reshape(upstream, (-1, height // 2, 1, width // 2, 1, channels))
        return ops.reshape(ops.where(chosen, spread, ops.zeros_like(spread)), (-1, height, width, channels))

    return maxima, gradient
