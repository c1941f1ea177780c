"""A contender of the bench, in a process of its own: `python -m harness.bench.contenders NAME IMAGES`.

It sets itself up, computes until it is warm, tells the bench about itself, and from then on answers each "go"
with the speed of one round of training on IMAGES images.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from harness import data
from harness.bench.child import Parent, peak_memory_gb
from harness.config import Network, RunConfig, source_hash
from harness.engine import open_engine
from harness.engine.importing import import_keras
from harness.hardware import resolve_precision
from harness.recipes import FAST

#: What a contender says about itself, and its round.
Contender = tuple[dict[str, Any], Callable[[], dict[str, float]]]

MATRIX_SIZE = 4096
WARM_UP_STEPS = 4


def harness(images: int) -> Contender:
    """This engine on the `fast` recipe, augmentation included, as `harness run` calls it."""
    dataset = data.load("cifar10")  # held as a whole, as a run does, for the sake of the memory figure
    split = data.subset(data.split(dataset, "final"), images, 1000)
    config = RunConfig(
        network=Network(),
        recipe=FAST,
        seed=0,
        split="final",
        data=dataset.name,
        data_fingerprint=dataset.fingerprint,
        train_images=len(split.train_images),
        eval_images=len(split.eval_images),
        engine="tensorflow",
        precision=resolve_precision("auto", "tensorflow"),
        source=source_hash("tensorflow"),
    )
    engine = open_engine(config, split)
    state, _ = engine.train_epoch(engine.initial_state(), 0)
    engine.evaluate(state, split.eval_images)

    def train() -> dict[str, float]:
        nonlocal state
        begin = time.perf_counter()
        # Always the first epoch: the recipe has a learning rate for so many epochs and no more.
        state, _ = engine.train_epoch(state, 0)
        return _speed(images, begin) | {"peak_memory_gb": peak_memory_gb()}

    about = {"precision": config.precision, "device": engine.device, "flops_per_image": engine.flops_per_image}
    return about, train


def keras_fit(images: int) -> Contender:
    """Plain Keras, as the notebook would: compile, then fit on two arrays. A round is an epoch of its own."""
    model, x, y = _plain_keras(images)
    warm_up = WARM_UP_STEPS * FAST.batch_size
    model.fit(x[:warm_up], y[:warm_up], batch_size=FAST.batch_size, verbose=0)

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        model.fit(x, y, batch_size=FAST.batch_size, verbose=0)
        return _speed(images, begin)

    return {"precision": "float32"}, train


def keras_fit_no_autotune(images: int) -> Contender:
    """The same over a tf.data pipeline whose autotuner, which can stall the end of an epoch, is off."""
    model, x, y = _plain_keras(images)
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(FAST.batch_size).prefetch(2)
    batches = batches.with_options(options)
    model.fit(batches.take(WARM_UP_STEPS), verbose=0)

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        model.fit(batches, verbose=0)
        return _speed(images, begin)

    return {"precision": "float32"}, train


def torch(images: int) -> Contender:
    """PyTorch in eager mode, channels last, under bfloat16 autocast or in float32, whichever is faster here."""
    from harness.bench.pytorch import Trainer

    x, y = _arrays(images)
    trainer = Trainer(FAST, x, y)
    trial = {}
    for precision in ("bfloat16", "float32"):
        trainer.precision = precision
        trainer.steps(WARM_UP_STEPS // 2)
        begin = time.perf_counter()
        trainer.steps(WARM_UP_STEPS)
        trial[precision] = _speed(WARM_UP_STEPS * FAST.batch_size, begin)["images_per_s"]
    trainer.precision = max(trial, key=lambda precision: trial[precision])

    def train() -> dict[str, float]:
        begin = time.perf_counter()
        trainer.steps(len(x) // FAST.batch_size)
        return _speed(images, begin)

    return {"precision": trainer.precision, "device": str(trainer.device), "trial_images_per_s": trial}, train


def matmul(images: int) -> Contender:
    """No contender but the yardstick: the rate of large matrix products in both precisions, in GFLOP/s."""
    import_keras("tensorflow")
    import tensorflow as tf

    product = tf.function(tf.matmul)
    matrix = tf.random.normal((MATRIX_SIZE, MATRIX_SIZE), seed=0)
    factors = {"float32": matrix, "bfloat16": tf.cast(matrix, tf.bfloat16)}

    def seconds(factor: Any, repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            result = product(factor, factor)
        result[0, 0].numpy()  # a GPU is still computing until its result is asked for
        return (time.perf_counter() - begin) / repeats

    for factor in factors.values():
        seconds(factor, 1)
    # Half a second of products at least: a GPU makes one in less than a thousandth.
    repeats = {name: max(1, round(0.5 / seconds(factor, 1))) for name, factor in factors.items()}

    def multiply() -> dict[str, float]:
        flop = 2 * MATRIX_SIZE**3
        return {name: flop / seconds(factor, repeats[name]) / 1e9 for name, factor in factors.items()}

    return {"size": MATRIX_SIZE, "repeats": repeats}, multiply


def _plain_keras(images: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The same 18 layers and the same optimizer, compiled; and the images as a notebook has them, in 0..1."""
    import_keras("tensorflow")
    from harness.engine.network import build
    from harness.engine.optimizers import build_optimizer

    model = build(Network(input_scaling="raw"), FAST, output="softmax")
    model.compile(build_optimizer(FAST), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, *_arrays(images)


def _arrays(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [images, 32, 32, 3] in 0..1 and labels int32 [images]."""
    split = data.subset(data.split(data.load("cifar10"), "final"), images, 1)
    return split.train_images.astype(np.float32) / 255, split.train_labels


def _speed(images: int, begin: float) -> dict[str, float]:
    return {"images_per_s": images / (time.perf_counter() - begin)}


CONTENDERS = {f.__name__: f for f in (harness, keras_fit, keras_fit_no_autotune, torch, matmul)}


def main() -> None:
    """Set up, report, and train a round at each "go" for as long as the bench lives."""
    parent = Parent()
    name, images = sys.argv[1:]
    # Whole batches: what is left over at the end of an epoch is trained by some contenders and not by others.
    about, play = CONTENDERS[name](int(images) // FAST.batch_size * FAST.batch_size)
    parent.say(about)
    while True:
        parent.wait()
        parent.say(play())


if __name__ == "__main__":
    main()
