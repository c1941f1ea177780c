"""What the JAX engine computes: an epoch as one compiled program (on a CPU, a step), and an evaluation.

The uint8 images stay on the device; order, crop, flip and scaling happen inside the program.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from harness.config import Recipe, RunConfig
from harness.engine.jax.arguments import Settings, Steps
from harness.engine.layers import FirstMaxPooling2D, TracedDropout
from harness.engine.network import CLASSES, build, freeze_idle_biases
from harness.engine.optimizers import Told, build_optimizer, told
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import initial_state, named, named_slots
from harness.engine.structure import Structure

EVALUATION_BATCH = 500


class Variables(NamedTuple):
    """All that a step reads and changes, as lists of arrays."""

    trainable: list[Any]
    fixed: list[Any]
    slots: list[Any]


class Program:
    """A network with its compiled epoch and evaluation."""

    def __init__(self, structure: Structure) -> None:
        self.structure, self.recipe = structure, structure.recipe
        self.model = self._build(self.recipe, seed=0)
        self.optimizer = build_optimizer(self.recipe, grouped=True)
        self.optimizer.build(self.model.trainable_variables)
        names = {id(variable): name for name, variable in (named(self.model) | named_slots(self.optimizer)).items()}
        self._parts = [
            [(names[id(variable)], np.dtype(variable.dtype), variable.shape) for variable in part]
            for part in (self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables)
        ]
        fixed, slots = self.model.non_trainable_variables, self.optimizer.variables
        self._dropouts = [
            next(i for i, variable in enumerate(fixed) if variable is layer.traced_rate)
            for layer in self.model.layers
            if isinstance(layer, TracedDropout) and layer.rate > 0
        ]
        self._rate = next(i for i, variable in enumerate(slots) if variable is self.optimizer._learning_rate)
        # The state is donated: where it was, the next one is written.
        self._scan = jax.jit(self._all_steps, donate_argnums=0)
        self._one_step = jax.jit(self._step, donate_argnums=0)
        self._all_probabilities = jax.jit(self._evaluate_all)
        self._probabilities = jax.jit(self._evaluate)

    def initial_state(self, config: RunConfig) -> State:
        """The state before the first epoch of a run, by the names that every engine uses."""
        where = dataclasses.replace(self.recipe, dropout=config.recipe.dropout)
        return initial_state(self._build(where, config.seed), self.optimizer)

    def read(self, state: State) -> Variables:
        """Copies of a state's variables; of those that it lacks (where a run has no dropout) any value serves."""
        return Variables(
            *(
                [
                    jnp.array(state[name], dtype) if name in state else jnp.zeros(shape, dtype)
                    for name, dtype, shape in part
                ]
                for part in self._parts
            )
        )

    def write(self, variables: Variables, like: State) -> State:
        """The state of the variables, with the names of another."""
        arrays = {
            name: value
            for part, values in zip(self._parts, variables, strict=True)
            for (name, _, _), value in zip(part, values, strict=True)
        }
        return {name: arrays[name] for name in like}

    def train_epoch(
        self, state: State, data: tuple[Any, Any], steps: Steps, settings: Settings, on_step: Callable[[int], None]
    ) -> tuple[State, TrainMetrics]:
        """Every step of an epoch over the data: all images uint8 [N, 32, 32, 3], and labels int32 [N]."""
        # A copy of 4 MB, as the state is the caller's still, who compares it with the next.
        variables = self.read(state)
        count = len(steps.rate)
        with self._exactness():
            if jax.default_backend() == "cpu":
                # A convolution in a loop of XLA's takes a CPU about ten times as long (jax issue 12868).
                seen = []
                for number in range(count):
                    now = Steps(*(values[number] for values in steps))
                    variables, measured = self._one_step(variables, data, now, settings)
                    # Steps are only sent off here, and whoever hears of one takes it for done.
                    seen.append(jax.block_until_ready(measured))
                    on_step(number + 1)
                losses, hits = zip(*seen, strict=True)
            else:
                variables, (losses, hits) = self._scan(variables, data, steps, settings)
                on_step(count)
        return self.write(variables, state), TrainMetrics(float(np.mean(losses)), float(np.mean(hits)))

    def predict(self, state: State, batches: Any, settings: Settings) -> np.ndarray:
        """Class probabilities float32 [M * B, 10] of uint8 images [M, B, 32, 32, 3]."""
        variables = self.read(state)
        with self._exactness():
            if jax.default_backend() == "cpu":
                # For the reason that train_epoch has.
                found = [self._probabilities(variables, batch, settings) for batch in batches]
                return np.concatenate(found)
            return np.asarray(self._all_probabilities(variables, batches, settings)).reshape(-1, CLASSES)

    def largest_batch(self, below: int, data: tuple[Any, Any], settings: Settings, memory: int) -> int:
        """The largest power of two under a batch size that fits into so many bytes, the data included; 0: none does.

        Computed from what the compiler says that two small batches take; memory grows with the batch.
        """
        small = max(2, min(64, below // 4))
        one, two = (self._bytes_taken(size, data, settings) for size in (small, 2 * small))
        per_image = max(1.0, (two - one) / small)
        fits = min(below - 1, int((memory - one) // per_image) + small)
        return 2 ** (fits.bit_length() - 1) if fits >= 2 else 0

    def _bytes_taken(self, size: int, data: tuple[Any, Any], settings: Settings) -> int:
        """The memory that train_epoch takes at a batch size. An epoch here has two steps: more take no more."""
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
        )
        with self._exactness():
            compiled = (self._one_step if on_cpu else self._scan).lower(variables, data, steps, settings).compile()
        taken = compiled.memory_analysis()
        assert taken is not None, "CPUs and GPUs tell"
        return taken.argument_size_in_bytes + taken.temp_size_in_bytes

    @contextlib.contextmanager
    def _exactness(self) -> Iterator[None]:
        """In float32, matrix products are of float32 too: a GPU would round their factors to fewer bits."""
        with jax.default_matmul_precision("highest" if self.structure.precision == "float32" else "default"):
            yield

    def _build(self, recipe: Recipe, seed: int) -> keras.Model:
        """The network on scaled pixels; logits out."""
        # Keras numbers what it has named before: without this, a second network has other variable names.
        keras.backend.clear_session()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.structure.precision == "bfloat16" else "float32")
        model = build(
            self.structure.network, recipe, seed, output="linear", dropout=TracedDropout, max_pool=FirstMaxPooling2D
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
        """The variables after a step, and the loss and accuracy of its batch."""
        images, labels = data
        fixed, slots = list(variables.fixed), list(variables.slots)
        for place, layer in enumerate(self._dropouts):
            fixed[layer] = now.dropout[place]
        slots[self._rate] = now.rate
        inputs = scaled(augmented(images, now, settings.max_shift), settings)
        targets = jax.nn.one_hot(labels[now.order], CLASSES)
        targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / CLASSES

        def loss_of(trainable: list[Any]) -> tuple[Any, tuple[Any, Any]]:
            logits, changed = self.model.stateless_call(trainable, fixed, inputs, training=True)
            logits = logits.astype(jnp.float32)
            return cross_entropy(logits, targets), (logits, changed)

        (loss, (logits, fixed)), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables.trainable)
        trainable, slots = self._updated(variables.trainable, slots, gradients, settings)
        hits = jnp.mean(logits.argmax(axis=1) == labels[now.order])
        return Variables(trainable, list(fixed), slots), (loss, hits)

    def _updated(
        self, trainable: list[Any], slots: list[Any], gradients: list[Any], settings: Settings
    ) -> tuple[list[Any], list[Any]]:
        """Weights and slots after the optimizer's step."""
        momentum = Told(settings.momentum) if self.recipe.momentum else None
        with told(self.optimizer, settings.weight_decay, momentum):
            trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return list(trainable), list(slots)

    def _evaluate_all(self, variables: Variables, batches: Any, settings: Settings) -> Any:
        return jax.lax.map(lambda batch: self._evaluate(variables, batch, settings), batches)

    def _evaluate(self, variables: Variables, batch: Any, settings: Settings) -> Any:
        inputs = scaled(batch, settings)
        logits, _ = self.model.stateless_call(variables.trainable, variables.fixed, inputs, training=False)
        return jax.nn.softmax(logits.astype(jnp.float32))


def cross_entropy(logits: Any, targets: Any) -> Any:
    """The mean cross-entropy of logits [B, 10] against target probabilities [B, 10], in nats."""
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=1))


def augmented(images: Any, now: Steps, max_shift: Any) -> Any:
    """The augmented batch uint8 [B, 32, 32, 3] of one step, as `harness.engine.augment.batch` makes it."""
    size = images.shape[1]
    place = jnp.arange(size)

    def reflected(offset: Any, index: Any) -> Any:
        """The pixel that stands at an index of the window which begins at an offset into the padded image."""
        index = jnp.abs(offset[:, None] + index - max_shift)
        return jnp.where(index >= size, 2 * (size - 1) - index, index)

    columns = jnp.where(now.flip[:, None], size - 1 - place, place)
    rows, columns = reflected(now.shift[:, 0], place), reflected(now.shift[:, 1], columns)
    return images[now.order[:, None, None], rows[:, :, None], columns[:, None, :]]


def scaled(images: Any, settings: Settings) -> Any:
    """The pixels as the network is fed with them, float32."""
    return (images.astype(jnp.float32) - settings.offset) / settings.unit
