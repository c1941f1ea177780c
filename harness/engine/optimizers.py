"""The optimizers of the recipes, Muon included."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from harness.config import Recipe

#: Coefficients of Muon's quintic Newton-Schulz iteration. Five steps bring every singular value near 1, except those
#: far below the largest one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5

#: The learning rate of the kernel of `output`, which plain SGD trains, as a multiple of that of the other kernels.
OUTPUT_RATIO = 2.0

#: The shorter sides of matrices that are orthogonalized together are zero-padded to a multiple of this.
SIDE = 32


class Muon(keras.optimizers.SGD):
    """Muon for the kernels of all layers but `output`; Nesterov SGD for all other weights.

    sgd_ratio: the learning rate of biases and normalization parameters is `learning_rate` times this. muon_iterations:
    of Newton-Schulz. grouped: orthogonalize all kernels together, with the same result up to rounding: a few large
    products are faster on a GPU, one kernel after the other on a CPU.

    Muon also updates the hidden dense kernel, because with SGD its 32 ReLU units die in short runs (docs/speed.md).
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        sgd_ratio: float = 2.0,
        muon_iterations: int = ITERATIONS,
        grouped: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, nesterov=True, **settings)
        self.sgd_ratio, self.muon_iterations, self.grouped = sgd_ratio, muon_iterations, grouped

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self._is_hidden_kernel = [len(v.shape) > 1 and not v.path.startswith("output/") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self._is_hidden(variable):
            step = orthogonalize(self._update(gradient, variable), self.muon_iterations)
            self._move(variable, step, learning_rate)
        else:
            ratio = OUTPUT_RATIO if len(variable.shape) > 1 else self.sgd_ratio
            super().update_step(gradient, variable, learning_rate * ratio)

    def _backend_update_step(self, grads: list[Any], trainable_variables: list[Any], learning_rate: Any) -> None:
        """Override the method in which Keras updates the variables one by one."""
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
        for variable, step in zip(hidden, orthogonalize_together(updates, self.muon_iterations), strict=True):
            self._move(variable, step, learning_rate)

    def _is_hidden(self, variable: Any) -> bool:
        return self._is_hidden_kernel[self._get_variable_index(variable)]

    def _update(self, gradient: Any, variable: Any) -> Any:
        """Update the variable's momentum, if there is any, and return the Nesterov update as a matrix."""
        update = gradient
        if self.momentums:
            average = self.momentums[self._get_variable_index(variable)]
            self.assign(average, self.momentum * average + gradient)
            update = gradient + self.momentum * average
        # A convolution kernel [3, 3, in, out] is a matrix that maps a patch of 9 * in values to `out` values.
        return ops.reshape(update, (-1, variable.shape[-1]))

    def _move(self, variable: Any, step: Any, learning_rate: Any) -> None:
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.reshape(step, variable.shape))


def orthogonalize(matrix: Any, iterations: int = ITERATIONS) -> Any:
    """Return the matrix [m, n] with its singular values brought near 1 by Newton-Schulz iteration.

    A singular value above 1/500 of the matrix's Frobenius norm ends between 0.6 and 1.3. One far below that grows only
    by the factor 3.4445 per iteration and stays small, as happens to the smallest ones of a fast decaying spectrum.
    Fewer iterations than 5 leave more of them small.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    same = a * ops.eye(min(matrix.shape))
    x = matrix / (ops.norm(matrix) + 1e-7)
    for _ in range(iterations):
        # On the shorter side the polynomial is one small matrix, so the large matrix is multiplied by it only once.
        gram = ops.matmul(ops.transpose(x), x) if tall else ops.matmul(x, ops.transpose(x))
        factor = same + b * gram + c * ops.matmul(gram, gram)
        x = ops.matmul(x, factor) if tall else ops.matmul(factor, x)
    return x


def orthogonalize_together(matrices: Sequence[Any], iterations: int = ITERATIONS) -> list[Any]:
    """Return each matrix as `orthogonalize` does, up to rounding error.

    Matrices with about the same shorter side are computed in one batched product. They are padded with zeros to the
    same shape: rows and columns of zeros stay zero and do not change the other entries.
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
        for _ in range(iterations):
            gram = ops.matmul(ops.transpose(x, (0, 2, 1)), x)
            x = ops.matmul(x, same + b * gram + c * ops.matmul(gram, gram))
        for i, place in enumerate(places):
            rows, columns = matrices[place].shape
            made[place] = x[i, :rows, :columns] if rows > columns else ops.transpose(x[i, :columns, :rows])
    return made


def _filled_up(matrix: Any, length: int, side: int) -> Any:
    """Divide the matrix by its norm, transpose it if it is wide, and pad it with zeros to [length, side]."""
    x = matrix / (ops.norm(matrix) + 1e-7)
    if x.shape[0] <= x.shape[1]:
        x = ops.transpose(x)
    return ops.pad(x, ((0, length - x.shape[0]), (0, side - x.shape[1])))


def build_optimizer(recipe: Recipe, *, grouped: bool = False) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer of a recipe. The engine sets its learning rate at every step. grouped: see `Muon`."""
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    if recipe.optimizer == "muon":
        optimizer = Muon(
            rate, sgd_ratio=recipe.sgd_ratio, muon_iterations=recipe.muon_iterations, momentum=recipe.momentum,
            weight_decay=decay, grouped=grouped,
        )  # fmt: skip
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class Told:
    """An argument of a compiled program that replaces a Python number of an optimizer while a step is traced.

    Keras compares the number with 0, multiplies with it, and subtracts it from 1. complement: 1 minus the number, if
    the program has that as an argument too. Computing it from the float32 number would change its last bits.
    """

    def __init__(self, value: Any, complement: Any = None) -> None:
        self._value, self._complement = value, complement

    def __ne__(self, other: object) -> bool:
        # Keras asks whether momentum is 0. For momentum 0 there is another program, without this class.
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
def told(
    optimizer: keras.optimizers.Optimizer, weight_decay: Any, momentum: Told | None, sgd_ratio: Any
) -> Iterator[None]:
    """Set numbers of an optimizer to arguments of the program that is traced inside the block.

    momentum: None leaves the optimizer's own number. sgd_ratio: for Muon alone.
    """
    settings = {"weight_decay": weight_decay}
    if isinstance(optimizer, Muon):
        settings["sgd_ratio"] = sgd_ratio
    if momentum is not None:
        settings["beta_1" if hasattr(optimizer, "beta_1") else "momentum"] = momentum
    own = {name: getattr(optimizer, name) for name in settings}
    # Set the attributes directly: Keras's __setattr__ would track them.
    vars(optimizer).update(settings)
    try:
        yield
    finally:
        vars(optimizer).update(own)
