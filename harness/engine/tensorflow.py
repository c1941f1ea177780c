"""The TensorFlow engine: a hand-called `tf.function` step over arrays held in memory.

What makes it fast on a CPU: no input pipeline to wait for, one fused operation for each batch normalization, and
bfloat16 convolutions where the processor multiplies bfloat16. `make bench` measures what that is worth.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness import augment, schedule
from harness.config import Recipe, RunConfig
from harness.data import Split
from harness.engine import State, TrainMetrics
from harness.engine.layers import FusedBatchNormalization, RampedDropout
from harness.engine.muon import Muon
from harness.engine.network import CLASSES, build, training_flops
from harness.hardware import cpu_name

EVALUATION_BATCH = 500


class TensorFlowEngine:
    """See `harness.engine.Engine`. Batches are whole: the images left over at the end of an epoch sit it out."""

    def __init__(self, config: RunConfig, split: Split) -> None:
        self.config, self.split = config, split
        self.steps_per_epoch = len(split.train_images) // config.recipe.batch_size
        keras.backend.clear_session()
        # Costs nothing measurable on a CPU, and makes a resumed run the same run, bit for bit.
        tf.config.experimental.enable_op_determinism()
        tf.config.optimizer.set_experimental_options(
            {"auto_mixed_precision_onednn_bfloat16": config.precision == "bfloat16" and not on_gpu()}
        )
        self._pixel_statistics = pixel_statistics(split.train_images)
        keras.config.set_dtype_policy("mixed_bfloat16" if config.precision == "bfloat16" and on_gpu() else "float32")
        self.model = build(
            config.network, config.recipe, config.seed, *self._pixel_statistics,
            output="linear", batch_norm=FusedBatchNormalization, dropout=RampedDropout,
        )  # fmt: skip
        keras.config.set_dtype_policy("float32")
        self.optimizer = build_optimizer(config.recipe)
        self.optimizer.build(self.model.trainable_variables)
        self._ramps = [layer.ramp for layer in self.model.layers if isinstance(layer, RampedDropout)]
        self._variables = {
            **{f"model/{v.path}": v for v in self.model.variables},
            **{f"optimizer/{v.path}": v for v in self.optimizer.variables},
        }
        self.device = device_name()
        self.flops_per_image = training_flops(self.model)
        self._initial = self._read()
        self._train_step = tf.function(self._step, jit_compile=on_gpu())
        self._predict_step = tf.function(self._predict, jit_compile=on_gpu())

    def initial_state(self) -> State:
        return self._initial

    def train_epoch(
        self, state: State, epoch: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[State, TrainMetrics]:
        recipe, size = self.config.recipe, self.config.recipe.batch_size
        self._write(state)
        plan = augment.epoch_plan(recipe, self.config.seed, epoch, len(self.split.train_images))
        rates = schedule.learning_rates(recipe, self.steps_per_epoch, epoch)
        ramps = schedule.dropout_ramp(recipe, self.steps_per_epoch, epoch)
        labels = self.split.train_labels[plan.order]
        losses, hits = [], []
        for step in range(self.steps_per_epoch):
            rows = slice(step * size, (step + 1) * size)
            images = augment.batch(self.split.train_images, plan, rows, recipe.shift)
            loss, hit = self._train_step(
                tf.constant(images),
                tf.constant(labels[rows]),
                tf.constant(rates[step]),
                tf.constant(ramps[step]),
            )
            losses.append(loss)
            hits.append(hit)
            on_step(step + 1)
        metrics = TrainMetrics(float(np.mean(losses)), float(np.mean(hits)))
        return self._read(), metrics

    def evaluate(self, state: State, images: np.ndarray) -> np.ndarray:
        self._write(state)
        batches = [images[i : i + EVALUATION_BATCH] for i in range(0, len(images), EVALUATION_BATCH)]
        return np.concatenate([self._predict_step(tf.constant(batch)).numpy() for batch in batches])

    def export(self, state: State) -> keras.Model:
        plain = build(self.config.network, self.config.recipe, self.config.seed, *self._pixel_statistics)
        for variable in plain.variables:
            if f"model/{variable.path}" in state:
                variable.assign(state[f"model/{variable.path}"])
        return plain

    def _step(self, images: Any, labels: Any, learning_rate: Any, ramp: Any) -> tuple[Any, Any]:
        for variable in self._ramps:
            variable.assign(ramp)
        self.optimizer.learning_rate.assign(learning_rate)
        smoothing = self.config.recipe.label_smoothing
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

    def _read(self) -> State:
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def _write(self, state: State) -> None:
        for name, variable in self._variables.items():
            variable.assign(state[name])


def build_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """The Keras optimizer of a recipe; its learning rate is set anew at every step."""
    rate, decay = recipe.learning_rate, recipe.weight_decay or None
    if recipe.optimizer == "muon":
        optimizer = Muon(rate, momentum=recipe.momentum, weight_decay=decay)
    elif recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, weight_decay=decay)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def pixel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float64 [3] each, in pixel units."""
    # From the 256 counts of each channel: exact, and without a float copy of 150 MB of pixels.
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256)
    mean = counts @ values / counts.sum(axis=1)
    return mean, np.sqrt(counts @ values**2 / counts.sum(axis=1) - mean**2)


def device_name() -> str:
    """The GPU's name, or the CPU's."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return cpu_name()
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


def on_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
