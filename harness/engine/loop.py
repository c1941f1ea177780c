"""The training loop: train one run from its last checkpoint to its end, with a checkpoint after every epoch."""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.config import RunConfig
from harness.data import Split
from harness.engine import schedule
from harness.engine.protocol import Engine, State
from harness.runs.folder import History, Result, RunFolder
from harness.runs.records import packed


@dataclass(frozen=True)
class TrainedRun:
    """A run that has ended. probabilities: float32 [N, 10], the final model's outputs for the evaluation images."""

    result: Result
    state: State
    history: History
    probabilities: np.ndarray


class Callback(Protocol):
    """Observes a training, for example to show its progress, to log it or to time it."""

    def started(self, history: History) -> None:
        """The run starts or resumes. history: the epochs that are done."""

    def step(self, done: int, steps_per_epoch: int) -> None:
        """`done` steps of the current epoch are finished."""

    def epoch(self, row: dict[str, float]) -> None:
        """An epoch is finished and its checkpoint is on the disk. row: its metrics."""


def train(
    config: RunConfig,
    engine: Engine,
    split: Split,
    folder: RunFolder,
    callbacks: Sequence[Callback],
    *,
    probe: bool = False,
) -> TrainedRun:
    """Train a run to its end and return it. The caller holds the folder's lock.

    probe: measure the network's internals after every epoch. The checkpoint of an epoch is written before the callbacks
    are called, so a kill at any moment loses only the current epoch.
    """
    state, history = folder.load() or (engine.initial_state(), [])
    for callback in callbacks:
        callback.started(history)
    steps = config.train_images // config.recipe.batch_size
    probabilities = None
    for epoch in range(len(history), config.recipe.epochs):
        begin = time.perf_counter()

        def on_step(done: int) -> None:
            for callback in callbacks:
                callback.step(done, steps)

        before = state
        state, trained = engine.train_epoch(before, epoch, on_step)
        seconds = time.perf_counter() - begin
        is_last = epoch + 1 == config.recipe.epochs
        images, labels = split.eval_images, split.eval_labels
        if not is_last and (judged := curve_images(split)) < len(images):
            images, labels = images[:judged], labels[:judged]
        probabilities = engine.evaluate(state, images)
        # Check the state too: a compiled ReLU may turn NaN into 0, so that a broken network has a finite loss.
        broken = [name for name, value in state.items() if not np.isfinite(value).all()]
        if broken or not (math.isfinite(trained.loss) and np.isfinite(probabilities).all()):
            where = f"; {len(broken)} of {len(state)} arrays of the state are not finite" if broken else ""
            reason = f"the loss was {trained.loss} in epoch {epoch + 1} of {config.recipe.epochs}{where}"
            return TrainedRun(Result("diverged", reason, {}, "", {}, []), state, history, probabilities)
        row: dict[str, float] = {
            "epoch": epoch + 1,
            "timestamp": int(time.time() * 1000),
            "train_loss": trained.loss,
            "train_accuracy": trained.accuracy,
            f"{split.eval_name}_loss": cross_entropy(probabilities, labels),
            f"{split.eval_name}_accuracy": accuracy(probabilities, labels),
            "learning_rate": float(schedule.learning_rates(config.recipe, steps, epoch)[-1]),
            "images_per_second": steps * config.recipe.batch_size / seconds,
            "epoch_seconds": time.perf_counter() - begin,
            "pflop": engine.flops_per_image * steps * config.recipe.batch_size * (epoch + 1) / 1e15,
        }
        if probe:
            begin = time.perf_counter()
            row |= engine.probe(before, state, epoch)
            row["probe_seconds"] = time.perf_counter() - begin
        history = [*history, row]
        folder.save(state, history)
        for callback in callbacks:
            callback.epoch(row)
    if probabilities is None:
        probabilities = engine.evaluate(state, split.eval_images)
    return _ended(state, history, split, probabilities)


def curve_images(split: Split) -> int:
    """Return on how many evaluation images, the first ones, a run is judged after each epoch but the last.

    All of them, unless that took long beside the training: 10,000 images take as long as training on 3,300.
    """
    return min(len(split.eval_images), max(2_000, len(split.train_images) // 4))


def _ended(state: State, history: History, split: Split, probabilities: np.ndarray) -> TrainedRun:
    classes = len(split.class_names)
    pairs = split.eval_labels * classes + probabilities.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    errors = 1 - confusion.diagonal() / confusion.sum(axis=1)
    result = Result(
        status="finished",
        reason="",
        metrics={
            "accuracy": accuracy(probabilities, split.eval_labels),
            "cross_entropy": cross_entropy(probabilities, split.eval_labels),
            "calibration_error": calibration_error(probabilities, split.eval_labels),
            "training_seconds": sum(row["epoch_seconds"] for row in history),
        },
        weights_sha256=weights_sha256(state),
        error_per_class={name: float(e) for name, e in zip(split.class_names, errors, strict=True)},
        confusion=confusion.tolist(),
        correct=packed(probabilities.argmax(axis=1) == split.eval_labels),
    )
    return TrainedRun(result, state, history, probabilities)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of rows of `probabilities` [N, 10] whose largest entry is at the label (integers [N])."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log probability of the labels (integers [N]), in nats."""
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # Keras's own lower bound: one probability that is 0 in float32 must not make the mean infinite.
    return float(-np.log(np.maximum(likelihood, 1e-7)).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: how far confidence and accuracy are apart, 0 to 1.

    The images are sorted into `bins` equal intervals of the largest probability of each row [N, 10]. In each bin the
    mean of that probability is compared with the share that is right; the mean over the images is returned. Guo et al.
    2017, "On calibration of modern neural networks".
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, confidence - right, bins)).sum() / len(labels))


def weights_sha256(state: State) -> str:
    """Return the sha256 of all weights of the network, moving statistics included.

    They are hashed as float32 bytes in the order of their names. The seeds and current rates of dropout are also in a
    state under `model/`; they are no weights and are left out.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith("model/") and not name.endswith(("/seed_generator_state", "/traced_rate")):
            digest.update(np.ascontiguousarray(state[name], np.float32).tobytes())
    return digest.hexdigest()
