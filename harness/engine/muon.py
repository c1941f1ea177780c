"""Muon: momentum whose update of each convolution kernel is made orthogonal first.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Keras ships a Muon too, but that
one treats only two-dimensional kernels so, and this network's are four-dimensional.
"""

from typing import Any

import keras
from keras import ops

#: The quintic iteration of the paper: five steps bring every singular value near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(keras.optimizers.SGD):
    """Muon for convolution kernels, Nesterov SGD at `sgd_ratio` times the learning rate for all other weights."""

    def __init__(self, learning_rate: float, *, sgd_ratio: float = 2.0, **settings: Any) -> None:
        super().__init__(learning_rate, nesterov=True, **settings)
        self.sgd_ratio = sgd_ratio

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if len(variable.shape) != 4:
            super().update_step(gradient, variable, learning_rate * self.sgd_ratio)
            return
        average = self.momentums[self._get_variable_index(variable)]
        self.assign(average, self.momentum * average + gradient)
        update = gradient + self.momentum * average
        # A kernel [3, 3, in, out] is the matrix that takes a patch of 9 * in values to `out` values.
        matrix = ops.reshape(update, (-1, variable.shape[-1]))
        step = ops.reshape(orthogonalize(matrix), variable.shape)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)


def orthogonalize(matrix: Any) -> Any:
    """The matrix [m, n] with its singular values brought to about 1 (0.7 to 1.2), by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if tall else matrix
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(ITERATIONS):
        gram = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    return ops.transpose(x) if tall else x
