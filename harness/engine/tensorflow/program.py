"""What the TensorFlow engine computes: the network, its optimizer, and one step of each kind, compiled.

What makes it fast on a CPU: no input pipeline to wait for, one fused operation for each batch normalization, and
bfloat16 convolutions where the processor multiplies bfloat16. `make bench` measures what that is worth.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config import Network, Precision, Recipe, RunConfig
from harness.data import Split
from harness.engine import augment, schedule
from harness.engine.dropout import TracedDropout
from harness.engine.network import CLASSES, PixelStatistics, build, freeze_idle_biases
from harness.engine.optimizers import build_optimizer
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import initial_state, named, named_slots
from harness.engine.tensorflow.batch_norm import FusedBatchNormalization

EVALUATION_BATCH = 500


class Program:
    """A network with its compiled steps. `variables` holds, by name, all that the steps read and change."""

    def __init__(self, network: Network, recipe: Recipe, precision: Precision, pixels: PixelStatistics) -> None:
        self.network, self.recipe, self.precision, self.pixels = network, recipe, precision, pixels
        # Costs nothing measurable on a CPU, and makes a resumed run the same run, bit for bit.
        tf.config.experimental.enable_op_determinism()
        self.model = self.build(seed=0)
        self.optimizer = build_optimizer(recipe)
        self.optimizer.build(self.model.trainable_variables)
        self._dropouts = [layer for layer in self.model.layers if isinstance(layer, TracedDropout)]
        self.variables = named(self.model) | named_slots(self.optimizer)
        # AutoGraph, which nothing here needs, would make the first step 0.3 s later (three starts each way in turn:
        # 2.4 to 2.5 s and 2.2 s after the imports, 2-core Xeon 2.30 GHz, 2026-11-26).
        self._train_step = tf.function(self._step, autograph=False, jit_compile=on_gpu())
        self._predict_step = tf.function(self._predict, autograph=False, jit_compile=on_gpu())

    def build(self, seed: int) -> keras.Model:
        """The network with the initial weights of a seed; logits out."""
        # Keras numbers what it has named before: without this, a second network has other variable names.
        keras.backend.clear_session()
        mixed = self.precision == "bfloat16" and on_gpu()
        keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
        model = build(
            self.network, self.recipe, seed, *self.pixels,
            output="linear", batch_norm=FusedBatchNormalization, dropout=TracedDropout,
        )  # fmt: skip
        keras.config.set_dtype_policy("float32")
        freeze_idle_biases(self.network, model)
        return model

    def initial_state(self, seed: int) -> State:
        """The state before the first epoch of a run of that seed."""
        return initial_state(self.build(seed), self.optimizer)

    def train_epoch(self, config: RunConfig, split: Split, epoch: int, on_step: Callable[[int], None]) -> TrainMetrics:
        """Every step of an epoch. Batches are whole: the images left over at the end sit it out."""
        self._set_precision()
        recipe, size = config.recipe, config.recipe.batch_size
        steps = len(split.train_images) // size
        plan = augment.epoch_plan(recipe, config.seed, epoch, len(split.train_images))
        rates = schedule.learning_rates(recipe, steps, epoch)
        # [step, layer]
        dropout = np.outer(schedule.dropout_ramp(recipe, steps, epoch), recipe.dropout).astype(np.float32)
        labels = split.train_labels[plan.order]
        losses, hits = [], []
        for step in range(steps):
            rows = slice(step * size, (step + 1) * size)
            images = augment.batch(split.train_images, plan, rows, recipe.shift)
            loss, hit = self._train_step(
                tf.constant(images),
                tf.constant(labels[rows]),
                tf.constant(rates[step]),
                tf.constant(dropout[step]),
            )
            losses.append(loss)
            hits.append(hit)
            on_step(step + 1)
        return TrainMetrics(float(np.mean(losses)), float(np.mean(hits)))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities float32 [N, 10] of uint8 images [N, 32, 32, 3]."""
        self._set_precision()
        batches = [images[i : i + EVALUATION_BATCH] for i in range(0, len(images), EVALUATION_BATCH)]
        return np.concatenate([self._predict_step(tf.constant(batch)).numpy() for batch in batches])

    def _set_precision(self) -> None:
        # TensorFlow reads it at each call of a compiled function, and other programs may have set it since.
        mixed = self.precision == "bfloat16" and not on_gpu()
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": mixed})

    def _step(self, images: Any, labels: Any, learning_rate: Any, dropout: Any) -> tuple[Any, Any]:
        for place, layer in enumerate(self._dropouts):
            if layer.rate > 0:
                layer.traced_rate.assign(dropout[place])
        self.optimizer.learning_rate.assign(learning_rate)
        smoothing = self.recipe.label_smoothing
        targets = tf.one_hot(labels, CLASSES) * (1 - smoothing) + smoothing / CLASSES
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(tf.cast(images, tf.float32), training=True), tf.float32)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        hits = tf.cast(tf.argmax(logits, axis=1, output_type=labels.dtype) == labels, tf.float32)
        return loss, tf.reduce_mean(hits)

    def _predict(self, images: Any) -> Any:
        logits = self.model(tf.cast(images, tf.float32), training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))


def on_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
