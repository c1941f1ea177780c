"""A contender of the bench in its own process: `python -m harness.commands.bench.contenders NAME SETUP`.

It sets itself up, runs some warm-up steps, sends the bench a description of itself, and then answers each "go" with
the speed of one round of training.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import data
from harness.commands.bench.child import Parent, peak_memory_gb
from harness.commands.bench.document import USUAL_BATCH
from harness.common.hardware import cores
from harness.common.lazy import lazy_import
from harness.config import Network, Precision, Recipe, RunConfig
from harness.engine.backend import import_keras, open_engine
from harness.engine.devices import resolve_precision
from harness.recipes import FAST
from harness.source_hash import source_hash

if TYPE_CHECKING:
    import jax
    import keras
    import tensorflow as tf

    from harness.commands.bench import pytorch
    from harness.engine import network, optimizers
else:
    # A contender imports its own framework, and no other.
    jax = lazy_import("jax")
    keras = lazy_import("keras")
    tf = lazy_import("tensorflow")
    pytorch = lazy_import("harness.commands.bench.pytorch")
    network = lazy_import("harness.engine.network")
    optimizers = lazy_import("harness.engine.optimizers")

#: A contender's description of itself, and the function that runs one round.
Contender = tuple[dict[str, Any], Callable[[], dict[str, float]]]

MATRIX_SIZE = 4096
#: Numbers in the array that is copied to measure a GPU's memory bandwidth: 1 GB of bfloat16.
COPIED = 2**29
WARM_UP_STEPS = 4


@dataclass(frozen=True)
class Setup:
    """The settings that all contenders share. images: number of images in a round, a multiple of the batch size."""

    engine: str
    batch_size: int
    images: int

    @property
    def recipe(self) -> Recipe:
        # The other contenders compute with all cores.
        return dataclasses.replace(FAST, batch_size=self.batch_size, threads=len(cores()))

    @property
    def precision(self) -> Precision:
        return resolve_precision("auto", self.engine)


def harness(setup: Setup) -> Contender:
    """This engine with the `fast` recipe, augmentation included, called as in `harness run`."""
    dataset = data.load("cifar10")  # keep the whole data set in memory, as a run does, to measure the same peak memory
    split = data.subset(data.split(dataset, "final"), setup.images, 1000)
    config = RunConfig(
        network=Network(),
        recipe=setup.recipe,
        seed=0,
        split="final",
        data=dataset.name,
        data_fingerprint=dataset.fingerprint,
        train_images=len(split.train_images),
        eval_images=len(split.eval_images),
        engine=setup.engine,
        precision=setup.precision,
        source=source_hash(setup.engine),
    )
    engine = open_engine(config, split)
    begin = time.perf_counter()
    state, _ = engine.train_epoch(engine.initial_state(), 0)
    first = time.perf_counter() - begin
    engine.evaluate(state, split.eval_images)

    def train() -> dict[str, float]:
        nonlocal state
        begin = time.perf_counter()
        # Always the first epoch, because the schedule has learning rates only for the recipe's number of epochs.
        state, _ = engine.train_epoch(state, 0)
        return _speed(setup, begin) | {"peak_memory_gb": peak_memory_gb()}

    about = {
        "precision": config.precision,
        "device": engine.device,
        "flops_per_image": engine.flops_per_image,
        "convolved_per_image": _convolved(),
        "first_round_s": first,
    }
    return about, train


def keras_fit(setup: Setup) -> Contender:
    """Plain Keras as in the notebook: compile, then fit on two arrays. A round is one epoch."""
    model, x, y, precision = _plain_keras(setup)
    warm_up = WARM_UP_STEPS * setup.batch_size
    model.fit(x[:warm_up], y[:warm_up], batch_size=setup.batch_size, verbose=0)

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        model.fit(x, y, batch_size=setup.batch_size, verbose=0)
        return _speed(setup, begin)

    return {"precision": precision}, train


def keras_fit_128(setup: Setup) -> Contender:
    """Plain Keras at the usual batch size, if the engine's batch size is another one."""
    images = setup.images // USUAL_BATCH * USUAL_BATCH
    return keras_fit(dataclasses.replace(setup, batch_size=USUAL_BATCH, images=images))


def keras_fit_no_autotune(setup: Setup) -> Contender:
    """Plain Keras on a tf.data pipeline without autotuning, which can stall the end of an epoch."""
    model, x, y, precision = _plain_keras(setup)
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(setup.batch_size).prefetch(2)
    batches = batches.with_options(options)
    model.fit(batches.take(WARM_UP_STEPS), verbose=0)

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        model.fit(batches, verbose=0)
        return _speed(setup, begin)

    return {"precision": precision}, train


def torch(setup: Setup) -> Contender:
    """PyTorch in eager mode, channels last, with bfloat16 autocast or in float32: the faster one on this machine."""
    return _torch(setup, compiled=False)


def torch_compile(setup: Setup) -> Contender:
    """PyTorch as in `torch`, but with torch.compile."""
    return _torch(setup, compiled=True)


def _torch(setup: Setup, *, compiled: bool) -> Contender:
    trainer = pytorch.Trainer(setup.recipe, *_arrays(setup), compiled=compiled)
    trial = {}
    for precision in ("bfloat16", "float32"):
        trainer.precision = precision
        trainer.steps(WARM_UP_STEPS // 2)
        begin = time.perf_counter()
        trainer.steps(WARM_UP_STEPS)
        trial[precision] = WARM_UP_STEPS * setup.batch_size / (time.perf_counter() - begin)
    trainer.precision = max(trial, key=lambda precision: trial[precision])

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        trainer.steps(setup.images // setup.batch_size)
        return _speed(setup, begin)

    return {"precision": trainer.precision, "device": str(trainer.device), "trial_images_per_s": trial}, train


def machine(setup: Setup) -> Contender:
    """The machine itself, for comparison: matrix products in GFLOP/s and, on a GPU with JAX, memory copies in GB/s."""
    import_keras(setup.engine, setup.recipe.threads)
    product, factors, wait = _matrices(setup.engine)

    def seconds(call: Callable[[], Any], repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            result = call()
        wait(result)  # a GPU computes asynchronously: the work is done only when the result is there
        return (time.perf_counter() - begin) / repeats

    # name -> (call, work of one call): floating-point operations, or bytes.
    work: dict[str, tuple[Callable[[], Any], float]] = {
        name: (partial(product, factor, factor), 2 * MATRIX_SIZE**3) for name, factor in factors.items()
    }
    if setup.engine == "jax" and jax.default_backend() != "cpu":
        array = jax.numpy.zeros(COPIED, jax.numpy.bfloat16)
        copy = jax.jit(lambda values: values + 1)
        work["copy"] = (partial(copy, array), 2 * array.nbytes)  # read and written
    repeats = {}
    for name, (call, _) in work.items():
        seconds(call, 1)
        # Repeat for at least half a second, because a single call on a GPU is too short to time.
        repeats[name] = max(1, round(0.5 / seconds(call, 1)))

    def measure() -> dict[str, float]:
        return {name: amount / seconds(call, repeats[name]) / 1e9 for name, (call, amount) in work.items()}

    return {"size": MATRIX_SIZE, "repeats": repeats}, measure


def _matrices(engine: str) -> tuple[Callable[[Any, Any], Any], dict[str, Any], Callable[[Any], object]]:
    """Return a compiled matrix product, a matrix of each precision, and a function that waits for a result."""
    if engine == "jax":
        matrix = jax.random.normal(jax.random.key(0), (MATRIX_SIZE, MATRIX_SIZE))
        factors = {"float32": matrix, "bfloat16": matrix.astype("bfloat16")}
        return jax.jit(jax.numpy.matmul), factors, jax.block_until_ready
    matrix = tf.random.normal((MATRIX_SIZE, MATRIX_SIZE), seed=0)
    factors = {"float32": matrix, "bfloat16": tf.cast(matrix, tf.bfloat16)}
    return tf.function(tf.matmul), factors, lambda result: result[0, 0].numpy()


def _plain_keras(setup: Setup) -> tuple[Any, np.ndarray, np.ndarray, Precision]:
    """Return a compiled Keras model (same layers and optimizer), images as in a notebook (0..1), labels, and precision.

    The precision is Keras's default, float32. On JAX it is that of the engine, because there the question is what the
    engine adds.
    """
    import_keras(setup.engine, setup.recipe.threads)
    precision: Precision = setup.precision if setup.engine == "jax" else "float32"
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = network.build(Network(input_scaling="raw"), setup.recipe, output="softmax")
    model.compile(
        optimizers.build_optimizer(setup.recipe), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model, *_arrays(setup), precision


def _convolved() -> int:
    """Return how many numbers the convolutions write for one image. They are most of a step's memory traffic."""
    layers = network.build(Network(), FAST).layers
    return sum(int(np.prod(layer.output.shape[1:])) for layer in layers if isinstance(layer, keras.layers.Conv2D))


def _arrays(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """Return images float32 [images, 32, 32, 3] in 0..1 and labels int32 [images]."""
    split = data.subset(data.split(data.load("cifar10"), "final"), setup.images, 1)
    return split.train_images.astype(np.float32) / 255, split.train_labels


def _speed(setup: Setup, begin: float) -> dict[str, float]:
    return {"images_per_s": setup.images / (time.perf_counter() - begin)}


CONTENDERS = {
    f.__name__: f for f in (harness, keras_fit, keras_fit_128, keras_fit_no_autotune, torch, torch_compile, machine)
}


def main() -> None:
    """Set up the contender, send its description, and run a round at each "go" until the bench ends."""
    parent = Parent()
    name, setup = sys.argv[1:]
    about, play = CONTENDERS[name](Setup(**json.loads(setup)))
    parent.say(about)
    while True:
        parent.wait()
        parent.say(play())


if __name__ == "__main__":
    main()
