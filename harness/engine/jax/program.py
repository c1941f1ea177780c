"""The compiled program of the JAX engine: an epoch (on a CPU, a step), and an evaluation.

The uint8 images stay on the device. Order, crop, flip and scaling happen inside the program.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from harness.config import Recipe, RunConfig, ShiftMode
from harness.data import Split
from harness.engine.jax.arguments import Settings, Steps
from harness.engine.jax.batch_norm import FusedBatchNormalization
from harness.engine.layers import FirstMaxPooling2D, TracedDropout
from harness.engine.network import CLASSES, build, freeze_idle_biases
from harness.engine.optimizers import Told, build_optimizer, told
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import Structure, averaged_of, initial_state, named, named_slots

EVALUATION_BATCH = 500


class Variables(NamedTuple):
    """All arrays that a step reads and changes: trainable and other variables of the network, and optimizer slots.

    averages: of trainable variables and then of other ones, those that the recipe averages; empty if it averages none.
    """

    trainable: list[Any]
    fixed: list[Any]
    slots: list[Any]
    averages: list[Any]


class Program:
    """A network, and its compiled epoch and evaluation."""

    def __init__(self, structure: Structure) -> None:
        self.structure, self.recipe = structure, structure.recipe
        self.model = self._build(self.recipe, seed=0)
        self.optimizer = build_optimizer(self.recipe, grouped=True)
        self.optimizer.build(self.model.trainable_variables)
        names = {id(variable): name for name, variable in (named(self.model) | named_slots(self.optimizer)).items()}
        trainable, fixed = self.model.trainable_variables, self.model.non_trainable_variables
        slots = self.optimizer.variables
        self._parts = [
            [(names[id(variable)], np.dtype(variable.dtype), variable.shape) for variable in part]
            for part in (trainable, fixed, slots)
        ]
        averages = {id(variable): name for name, variable in averaged_of(self.model, self.recipe).items()}
        self._averaged = [i for i, variable in enumerate((*trainable, *fixed)) if id(variable) in averages]
        of_both = [(*trainable, *fixed)[i] for i in self._averaged]
        self._parts.append([(averages[id(v)], np.dtype(v.dtype), v.shape) for v in of_both])
        self._dropouts = [
            next(i for i, variable in enumerate(fixed) if variable is layer.traced_rate)
            for layer in self.model.layers
            if isinstance(layer, TracedDropout) and layer.rate > 0
        ]
        self._rate = next(i for i, variable in enumerate(slots) if variable is self.optimizer._learning_rate)
        self._scan = jax.jit(self._all_steps)
        # The variables are donated: JAX writes the new ones into the memory of the old ones.
        self._one_step = jax.jit(self._step, donate_argnums=0)
        self._all_probabilities = jax.jit(self._evaluate_all)
        self._probabilities = jax.jit(self._evaluate)

    def initial_state(self, config: RunConfig, split: Split) -> State:
        """Return the state before the first epoch of a run, with the names that every engine uses."""
        where = dataclasses.replace(self.recipe, dropout=config.recipe.dropout)
        return initial_state(config, split, self._build(where, config.seed), self.optimizer)

    def read(self, state: State) -> Variables:
        """Return a state's variables.

        A state lacks the variables of layers in which its run has no dropout. Their values do not matter and are 0.
        """
        return Variables(
            *(
                [
                    jnp.asarray(state[name], dtype) if name in state else jnp.zeros(shape, dtype)
                    for name, dtype, shape in part
                ]
                for part in self._parts
            )
        )

    def write(self, variables: Variables, like: State) -> State:
        """Return the variables as a state with the same names as the state `like`."""
        arrays = {
            name: value
            for part, values in zip(self._parts, variables, strict=True)
            for (name, _, _), value in zip(part, values, strict=True)
        }
        return {name: arrays[name] for name in like}

    def train_epoch(
        self, state: State, data: tuple[Any, Any], steps: Steps, settings: Settings, on_step: Callable[[int], None]
    ) -> tuple[State, TrainMetrics]:
        """Run all steps of an epoch, and return the new state and the epoch's metrics.

        data: all training images uint8 [N, 32, 32, 3], and labels int32 [N].
        """
        variables = self.read(state)
        count = len(steps.rate)
        with self._exactness():
            if jax.default_backend() == "cpu":
                # On a CPU, a convolution inside an XLA loop is much slower (jax issue 12868).
                seen = []
                # Steps take their variables away, and the caller needs the old state: it compares it with the new one.
                variables = jax.tree.map(jnp.copy, variables)
                for number in range(count):
                    now = Steps(*(values[number] for values in steps))
                    variables, measured = self._one_step(variables, data, now, settings)
                    # JAX computes asynchronously, but `on_step` must be called only after the step is done.
                    seen.append(jax.block_until_ready(measured))
                    on_step(number + 1)
                losses, hits = zip(*seen, strict=True)
            else:
                variables, (losses, hits) = self._scan(variables, data, steps, settings)
                on_step(count)
        return self.write(variables, state), TrainMetrics(float(np.mean(losses)), float(np.mean(hits)))

    def first_step(self, state: State, data: tuple[Any, Any], steps: Steps, settings: Settings) -> State:
        """Return the state after the first of the steps of an epoch. The arguments are those of `train_epoch`."""
        first = Steps(*(values[0] for values in steps))
        with self._exactness():
            variables, _ = self._one_step(jax.tree.map(jnp.copy, self.read(state)), data, first, settings)
        return self.write(variables, state)

    def predict(self, state: State, batches: Any, settings: Settings) -> np.ndarray:
        """Return class probabilities float32 [M * B, 10] of uint8 images [M, B, 32, 32, 3]."""
        variables = self.read(state)
        with self._exactness():
            if jax.default_backend() == "cpu":
                # No XLA loop, for the same reason as in train_epoch.
                found = [self._probabilities(variables, batch, settings) for batch in batches]
                return np.concatenate(found)
            return np.asarray(self._all_probabilities(variables, batches, settings)).reshape(-1, CLASSES)

    def largest_batch(self, below: int, data: tuple[Any, Any], settings: Settings, memory: int) -> int:
        """Return the largest power of two, smaller than `below`, that fits into memory as a batch size; 0 if none does.

        memory: in bytes; it has to hold the data too. Extrapolated linearly from the memory that the compiler reports
        for two small batches.
        """
        small = max(2, min(64, below // 4))
        one, two = (self._bytes_taken(size, data, settings) for size in (small, 2 * small))
        per_image = max(1.0, (two - one) / small)
        fits = min(below - 1, int((memory - one) // per_image) + small)
        return 2 ** (fits.bit_length() - 1) if fits >= 2 else 0

    def _bytes_taken(self, size: int, data: tuple[Any, Any], settings: Settings) -> int:
        """Return the bytes that train_epoch needs at a batch size, from two steps: more steps need no more memory."""
        on_cpu = jax.default_backend() == "cpu"
        several = () if on_cpu else (2,)
        shape = jax.ShapeDtypeStruct
        variables = Variables(*([shape(form, kind) for _, kind, form in part] for part in self._parts))
        steps = Steps(
            order=shape((*several, size), jnp.int32),
            flip=shape((*several, size), bool),
            shift=shape((*several, size, 2), jnp.int32),
            rate=shape(several, jnp.float32),
            dropout=shape((*several, 4), jnp.float32),
            keep=shape(several, jnp.float32),
        )
        with self._exactness():
            compiled = (self._one_step if on_cpu else self._scan).lower(variables, data, steps, settings).compile()
        taken = compiled.memory_analysis()
        assert taken is not None, "CPUs and GPUs tell"
        return taken.argument_size_in_bytes + taken.temp_size_in_bytes

    @contextlib.contextmanager
    def _exactness(self) -> Iterator[None]:
        """Compute float32 matrix products in full float32: by default a GPU rounds the factors to fewer bits."""
        with jax.default_matmul_precision("highest" if self.structure.precision == "float32" else "default"):
            yield

    def _build(self, recipe: Recipe, seed: int) -> keras.Model:
        """Build the network: scaled pixels in, logits out."""
        # Keras appends numbers to names that are in use: without this, a second network has other variable names.
        keras.backend.clear_session()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.structure.precision == "bfloat16" else "float32")
        model = build(
            self.structure.network,
            recipe,
            seed,
            output="linear",
            batch_norm=FusedBatchNormalization,
            dropout=TracedDropout,
            max_pool=FirstMaxPooling2D,
        )
        keras.config.set_dtype_policy("float32")
        freeze_idle_biases(self.structure.network, model)
        return model

    def _all_steps(
        self, variables: Variables, data: tuple[Any, Any], steps: Steps, settings: Settings
    ) -> tuple[Variables, tuple[Any, Any]]:
        return jax.lax.scan(lambda before, now: self._step(before, data, now, settings), variables, steps)

    def _step(
        self, variables: Variables, data: tuple[Any, Any], now: Steps, settings: Settings
    ) -> tuple[Variables, tuple[Any, Any]]:
        """Compute one step; return the new variables, and the loss and accuracy of its batch."""
        images, labels = data
        fixed, slots = list(variables.fixed), list(variables.slots)
        for place, layer in enumerate(self._dropouts):
            fixed[layer] = now.dropout[place]
        slots[self._rate] = now.rate
        inputs = scaled(augmented(images, now, settings.max_shift, self.recipe.shift_mode), settings)
        targets = jax.nn.one_hot(labels[now.order], CLASSES)
        targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / CLASSES

        def loss_of(trainable: list[Any]) -> tuple[Any, tuple[Any, Any]]:
            logits, changed = self.model.stateless_call(trainable, fixed, inputs, training=True)
            logits = logits.astype(jnp.float32)
            return cross_entropy(logits, targets), (logits, changed)

        (loss, (logits, fixed)), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables.trainable)
        trainable, slots = self._updated(variables.trainable, slots, gradients, settings)
        after = self._averages(Variables(trainable, list(fixed), slots, variables.averages), now.keep)
        hits = jnp.mean(logits.argmax(axis=1) == labels[now.order])
        return after, (loss, hits)

    def _updated(
        self, trainable: list[Any], slots: list[Any], gradients: list[Any], settings: Settings
    ) -> tuple[list[Any], list[Any]]:
        """Return weights and slots after the optimizer's step."""
        momentum = Told(settings.momentum) if self.recipe.momentum else None
        with told(self.optimizer, settings.weight_decay, momentum, settings.sgd_ratio):
            trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return list(trainable), list(slots)

    def _averages(self, variables: Variables, keep: Any) -> Variables:
        """Return the variables with the averages updated; with `lookahead`, going on from them."""
        weights, averages, is_due = [*variables.trainable, *variables.fixed], [], keep < 1
        for i, average in zip(self._averaged, variables.averages, strict=True):
            averages.append(jnp.where(is_due, keep * average + (1 - keep) * weights[i], average))
            if self.recipe.weight_averaging == "lookahead":
                weights[i] = jnp.where(is_due, averages[-1], weights[i])
        count = len(variables.trainable)
        return Variables(weights[:count], weights[count:], variables.slots, averages)

    def _evaluate_all(self, variables: Variables, batches: Any, settings: Settings) -> Any:
        return jax.lax.map(lambda batch: self._evaluate(variables, batch, settings), batches)

    def _evaluate(self, variables: Variables, batch: Any, settings: Settings) -> Any:
        inputs = scaled(batch, settings)
        logits, _ = self.model.stateless_call(variables.trainable, variables.fixed, inputs, training=False)
        return jax.nn.softmax(logits.astype(jnp.float32))


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Return the mean cross-entropy of logits [B, 10] and target probabilities [B, 10], in nats."""
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=1))


def augmented(images: Any, now: Steps, max_shift: Any, mode: ShiftMode = "reflect") -> Any:
    """Return the augmented batch uint8 [B, 32, 32, 3] of one step, equal to that of `harness.engine.augment.batch`."""
    size = images.shape[1]
    place = jnp.arange(size)

    def unpadded(offset: Any, index: Any) -> Any:
        """Map an index in the window at an offset of the padded image to an index in the unpadded image."""
        index = offset[:, None] + index - max_shift
        if mode == "reflect":
            index = jnp.abs(index)
            return jnp.where(index >= size, 2 * (size - 1) - index, index)
        return index % size if mode == "wrap" else index

    columns = jnp.where(now.flip[:, None], size - 1 - place, place)
    rows, columns = unpadded(now.shift[:, 0], place), unpadded(now.shift[:, 1], columns)
    if mode != "zero":
        return images[now.order[:, None, None], rows[:, :, None], columns[:, None, :]]
    rows_inside, columns_inside = ((index >= 0) & (index < size) for index in (rows, columns))
    pixels = images[now.order[:, None, None], rows[:, :, None] % size, columns[:, None, :] % size]
    return jnp.where((rows_inside[:, :, None] & columns_inside[:, None, :])[..., None], pixels, 0)


def scaled(images: Any, settings: Settings) -> Any:
    """Return the pixels as inputs of the network, float32."""
    return (images.astype(jnp.float32) - settings.offset) / settings.unit
