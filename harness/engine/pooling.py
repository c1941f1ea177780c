"""The twin of Keras's max-pooling for programs that XLA compiles."""

from typing import Any

import keras
from keras import ops


class FirstMaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` over 2 x 2 windows of [B, H, W, C], H and W even, to the bit; gradients too.

    On a GPU, XLA has no gradient of its own max-pooling that is the same every time: TensorFlow refuses to compile it,
    JAX sorts and scatters. This one is element-wise operations only, which a compiler joins into few kernels.
    """

    def call(self, inputs: Any) -> Any:
        return first_maximum(inputs)


@ops.custom_gradient
def first_maximum(images: Any) -> tuple[Any, Any]:
    """The maxima [B, H/2, W/2, C] of 2 x 2 windows; the first one of a window, row by row, takes all its gradient."""
    height, width, channels = images.shape[1:]
    windows = ops.reshape(images, (-1, height // 2, 2, width // 2, 2, channels))
    maxima = ops.max(windows, axis=(2, 4))

    def gradient(upstream: Any) -> Any:
        nothing = ops.zeros_like(upstream)
        is_free = ops.ones_like(upstream, dtype="bool")
        rows = []
        for i in range(2):
            row = []
            for j in range(2):
                is_maximum = ops.equal(windows[:, :, i, :, j], maxima)
                row.append(ops.where(ops.logical_and(is_maximum, is_free), upstream, nothing))
                is_free = ops.logical_and(is_free, ops.logical_not(is_maximum))
            rows.append(ops.stack(row, axis=3))
        return ops.reshape(ops.stack(rows, axis=2), (-1, height, width, channels))

    return maxima, gradient
