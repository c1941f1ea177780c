"""The optimizers that a recipe may name, Muon among them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from harness.config import Recipe

#: The quintic iteration of the paper: five steps bring every singular value near 1 that is not far below the largest.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5

#: Matrices that are orthogonalized together have their shorter sides filled up to a multiple of this.
SIDE = 32


class Muon(keras.optimizers.SGD):
    """Muon for the kernels of all layers but `output`; Nesterov SGD at `sgd_ratio` times the rate for the rest.

    grouped: orthogonalize all kernels together, which is the same but for rounding: few large products, as a GPU wants
    them, where a CPU is faster with one kernel after the other.

    The hidden dense kernel is stepped by Muon too: SGD kills its 32 ReLU units in short runs (docs/speed.md).
    """

    def __init__(self, learning_rate: float, *, sgd_ratio: float = 2.0, grouped: bool = False, **settings: Any) -> None:
        super().__init__(learning_rate, nesterov=True, **settings)
        self.sgd_ratio, self.grouped = sgd_ratio, grouped

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self._is_hidden_kernel = [len(v.shape) > 1 and not v.path.startswith("output/") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self._is_hidden(variable):
            self._move(variable, orthogonalize(self._update(gradient, variable)), learning_rate)
        else:
            super().update_step(gradient, variable, learning_rate * self.sgd_ratio)

    def _backend_update_step(self, grads: list[Any], trainable_variables: list[Any], learning_rate: Any) -> None:
        """Where Keras steps through the variables one by one."""
        if not self.grouped:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        hidden, updates = [], []
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            if self._is_hidden(variable):
                hidden.append(variable)
                updates.append(self._update(gradient, variable))
            else:
                self.update_step(gradient, variable, learning_rate)
        for variable, step in zip(hidden, orthogonalize_together(updates), strict=True):
            self._move(variable, step, learning_rate)

    def _is_hidden(self, variable: Any) -> bool:
        return self._is_hidden_kernel[self._get_variable_index(variable)]

    def _update(self, gradient: Any, variable: Any) -> Any:
        """Nesterov's update as a matrix; the momentum goes on."""
        average = self.momentums[self._get_variable_index(variable)]
        self.assign(average, self.momentum * average + gradient)
        update = gradient + self.momentum * average
        # A convolution's kernel [3, 3, in, out] is the matrix that takes a patch of 9 * in values to `out` values.
        return ops.reshape(update, (-1, variable.shape[-1]))

    def _move(self, variable: Any, step: Any, learning_rate: Any) -> None:
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.reshape(step, variable.shape))


def orthogonalize(matrix: Any) -> Any:
    """The matrix [m, n] with its singular values brought near 1, by Newton-Schulz iteration.

    To between 0.6 and 1.3 if they are over a 500th of the matrix's Frobenius norm. One far below it is multiplied by
    3.4445 at each iteration and no more: it stays small, as the smallest of a fast decaying spectrum do.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    same = a * ops.eye(min(matrix.shape))
    x = matrix / (ops.norm(matrix) + 1e-7)
    for _ in range(ITERATIONS):
        # On the shorter side all of the polynomial is one small matrix, and the large one is gone through once.
        gram = ops.matmul(ops.transpose(x), x) if tall else ops.matmul(x, ops.transpose(x))
        factor = same + b * gram + c * ops.matmul(gram, gram)
        x = ops.matmul(x, factor) if tall else ops.matmul(factor, x)
    return x


def orthogonalize_together(matrices: Sequence[Any]) -> list[Any]:
    """Each matrix as `orthogonalize` makes it, to rounding error; those of about the same shorter side in one product.

    They are filled up with zeros to one shape: rows and columns of zeros stay so, and change nothing elsewhere.
    """
    a, b, c = COEFFICIENTS
    groups: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        groups.setdefault(-(-min(matrix.shape) // SIDE) * SIDE, []).append(place)
    made: list[Any] = [None] * len(matrices)
    for side, places in groups.items():
        length = max(max(matrices[place].shape) for place in places)
        x = ops.stack([_filled_up(matrices[place], length, side) for place in places])
        same = a * ops.eye(side)
        for _ in range(ITERATIONS):
            gram = ops.matmul(ops.transpose(x, (0, 2, 1)), x)
            x = ops.matmul(x, same + b * gram + c * ops.matmul(gram, gram))
        for i, place in enumerate(places):
            rows, columns = matrices[place].shape
            made[place] = x[i, :rows, :columns] if rows > columns else ops.transpose(x[i, :columns, :rows])
    return made


def _filled_up(matrix: Any, length: int, side: int) -> Any:
    """The matrix over its norm, stood upright, in the upper left corner of zeros [length, side]."""
    x = matrix / (ops.norm(matrix) + 1e-7)
    if x.shape[0] <= x.shape[1]:
        x = ops.transpose(x)
    return ops.pad(x, ((0, length - x.shape[0]), (0, side - x.shape[1])))


def build_optimizer(recipe: Recipe, *, grouped: bool = False) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a recipe; its learning rate is set anew at every step. grouped: see `Muon`."""
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    if recipe.optimizer == "muon":
        optimizer = Muon(rate, momentum=recipe.momentum, weight_decay=decay, grouped=grouped)
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class Told:
    """A number that a compiled program is told, as Keras reads one of an optimizer's own while a step is traced.

    Keras asks whether it is zero, multiplies with it, and takes it from 1. `complement` is 1 minus the number, where
    the program is told that too: to the last bit it is another one if it is first computed in float32.
    """

    def __init__(self, value: Any, complement: Any = None) -> None:
        self._value, self._complement = value, complement

    def __ne__(self, other: object) -> bool:
        # Where it is zero the program is another one, in which nobody asks.
        return True

    def __mul__(self, other: Any) -> Any:
        return self._value * other

    def __rsub__(self, other: Any) -> Any:
        return other - self._value if self._complement is None else self._complement

    def __jax_array__(self) -> Any:
        return self._value

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self._value


@contextlib.contextmanager
def told(optimizer: keras.optimizers.Optimizer, weight_decay: Any, momentum: Told | None) -> Iterator[None]:
    """Meanwhile the optimizer has these settings, values of the program that is being traced; None: none to be told."""
    settings = {"weight_decay": weight_decay}
    if momentum is not None:
        settings["beta_1" if hasattr(optimizer, "beta_1") else "momentum"] = momentum
    own = {name: getattr(optimizer, name) for name in settings}
    # Not through Keras, which would take notice of each attribute that is set.
    vars(optimizer).update(settings)
    try:
        yield
    finally:
        vars(optimizer).update(own)
