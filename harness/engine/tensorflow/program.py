"""The compiled program of the TensorFlow engine: the network, its optimizer, a training step and an evaluation step.

It is fast on a CPU for three reasons: there is no input pipeline to wait for, each batch normalization is one fused
operation, and convolutions use bfloat16 if the processor multiplies it. `make bench` measures the effect.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from harness.config import RunConfig, ShiftMode
from harness.data import Split
from harness.engine import augment, schedule
from harness.engine.layers import FirstMaxPooling2D, TracedDropout
from harness.engine.network import CLASSES, PixelStatistics, build, freeze_idle_biases
from harness.engine.optimizers import Told, build_optimizer, told
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import Structure, averaged_of, initial_state, named, named_slots


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` as one fused TensorFlow operation.

    Keras 3 uses about ten element-wise operations, each a pass through memory. Input: [B, H, W, C], normalized per
    channel C. Output and moving statistics equal Keras's up to rounding error.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return tf.compat.v1.nn.fused_batch_norm(
                inputs,
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                self.epsilon,
                is_training=False,
            )[0]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The fused operation returns the unbiased variance; Keras's moving variance uses the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
        variance *= (count - 1) / count
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
        self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        return outputs


EVALUATION_BATCH = 500


class Settings(NamedTuple):
    """The settings of a run, as float32 tensors. A pixel p enters the network as (p - offset) / unit * factor.

    on, off: the target probability of an image's class, and of each other class. Values that are derived from a setting
    are computed before rounding to float32, to get the same numbers as with the setting as a constant.
    """

    momentum: Any
    momentum_complement: Any
    weight_decay: Any
    sgd_ratio: Any
    on: Any
    off: Any
    offset: Any
    unit: Any
    factor: Any


def settings_of(config: RunConfig, pixels: PixelStatistics) -> Settings:
    """Return the settings of a run for the program. pixels: statistics of its training images."""
    recipe, scaling = config.recipe, config.network.input_scaling
    mean, std = pixels if scaling == "standardised" else ((0.0,) * 3, (1.0,) * 3)
    smoothing = recipe.label_smoothing
    values = Settings(
        momentum=recipe.momentum,
        momentum_complement=1 - recipe.momentum,
        weight_decay=recipe.weight_decay,
        sgd_ratio=recipe.sgd_ratio,
        on=np.float32(1 - smoothing) + np.float32(smoothing / CLASSES),
        off=smoothing / CLASSES,
        offset=mean,
        # As in Keras's Normalization layer, which takes the variance and divides by at least epsilon.
        unit=np.maximum(np.sqrt(np.square(std).astype(np.float32)), keras.config.epsilon()),
        factor=1 / 255 if scaling == "unit" else 1.0,
    )
    return Settings(*(tf.constant(value, tf.float32) for value in values))


class Program:
    """A network and its compiled steps. variables: by name, everything that the steps read and change."""

    def __init__(self, structure: Structure) -> None:
        self.structure, self.recipe = structure, structure.recipe
        # With this, a resumed run is equal to an uninterrupted one bit for bit. It has no measurable cost on a CPU.
        tf.config.experimental.enable_op_determinism()
        self.model = self.build(seed=0)
        self.optimizer = build_optimizer(self.recipe, grouped=on_gpu())
        self.optimizer.build(self.model.trainable_variables)
        self._dropouts = [layer for layer in self.model.layers if isinstance(layer, TracedDropout)]
        self._averaged = averaged_of(self.model, self.recipe)
        averages = {name: keras.Variable(variable, trainable=False) for name, variable in self._averaged.items()}
        self.variables = named(self.model) | averages | named_slots(self.optimizer)
        # Nothing here needs AutoGraph, and it would delay the first step (docs/speed.md).
        self._train_step = tf.function(self._step, autograph=False, jit_compile=on_gpu())
        self._predict_step = tf.function(self._predict, autograph=False, jit_compile=on_gpu())
        self._average_step = tf.function(self._average, autograph=False, jit_compile=on_gpu())

    def build(self, seed: int) -> keras.Model:
        """Build the network with the initial weights of a seed: scaled pixels in, logits out."""
        # Keras appends numbers to names that are in use: without this, a second network has other variable names.
        keras.backend.clear_session()
        mixed = self.structure.precision == "bfloat16" and on_gpu()
        keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
        model = build(
            self.structure.network, self.recipe, seed, output="linear", batch_norm=FusedBatchNormalization,
            dropout=TracedDropout, max_pool=FirstMaxPooling2D if on_gpu() else keras.layers.MaxPooling2D,
        )  # fmt: skip
        keras.config.set_dtype_policy("float32")
        freeze_idle_biases(self.structure.network, model)
        return model

    def initial_state(self, config: RunConfig, split: Split) -> State:
        """Return the state before the first epoch of a run."""
        return initial_state(config, split, self.build(config.seed), self.optimizer)

    def train_epoch(
        self,
        config: RunConfig,
        settings: Settings,
        split: Split,
        epoch: int,
        on_step: Callable[[int], None] = lambda step: None,
        steps: int | None = None,
    ) -> TrainMetrics:
        """Run the first `steps` steps of an epoch, or all of them.

        Batches are full: the remaining images are not used in this epoch.
        """
        self._set_precision()
        recipe, size = config.recipe, config.recipe.batch_size
        in_all = len(split.train_images) // size
        padded = _padded(split, recipe.shift, recipe.shift_mode)
        plan = augment.epoch_plan(recipe, config.seed, epoch, len(split.train_images))
        rates = schedule.learning_rates(recipe, in_all, epoch)
        # [step, layer]
        dropout = np.outer(schedule.dropout_ramp(recipe, in_all, epoch), recipe.dropout).astype(np.float32)
        keep = schedule.averaging_keep(recipe, in_all, epoch)
        labels = split.train_labels[plan.order]
        losses, hits = [], []
        for step in range(in_all if steps is None else steps):
            rows = slice(step * size, (step + 1) * size)
            images = augment.batch(padded, plan, rows, recipe.shift)
            loss, hit = self._train_step(
                tf.constant(images),
                tf.constant(labels[rows]),
                tf.constant(rates[step]),
                tf.constant(dropout[step]),
                settings,
            )
            if self._averaged and keep[step] < 1:
                self._average_step(tf.constant(keep[step]))
            losses.append(loss)
            hits.append(hit)
            on_step(step + 1)
        return TrainMetrics(float(np.mean(losses)), float(np.mean(hits)))

    def predict(self, images: np.ndarray, settings: Settings) -> np.ndarray:
        """Return class probabilities float32 [N, 10] of uint8 images [N, 32, 32, 3]."""
        self._set_precision()
        batches = [images[i : i + EVALUATION_BATCH] for i in range(0, len(images), EVALUATION_BATCH)]
        return np.concatenate([self._predict_step(tf.constant(batch), settings).numpy() for batch in batches])

    def _set_precision(self) -> None:
        # TensorFlow reads both options at each call of a compiled function, and other programs may have changed them.
        mixed = self.structure.precision == "bfloat16"
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": mixed and not on_gpu()})
        # In float32, compute products in full float32 too: by default a GPU rounds the factors to fewer bits (TF32).
        tf.config.experimental.enable_tensor_float_32_execution(mixed)

    def _step(self, images: Any, labels: Any, learning_rate: Any, dropout: Any, settings: Settings) -> tuple[Any, Any]:
        for place, layer in enumerate(self._dropouts):
            if layer.rate > 0:
                layer.traced_rate.assign(dropout[place])
        self.optimizer.learning_rate.assign(learning_rate)
        targets = tf.one_hot(labels, CLASSES, settings.on, settings.off)
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(scaled(images, settings), training=True), tf.float32)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        momentum = Told(settings.momentum, settings.momentum_complement) if self.recipe.momentum else None
        with told(self.optimizer, settings.weight_decay, momentum, settings.sgd_ratio):
            self.optimizer.apply(gradients, self.model.trainable_variables)
        hits = tf.cast(tf.argmax(logits, axis=1, output_type=labels.dtype) == labels, tf.float32)
        return loss, tf.reduce_mean(hits)

    def _average(self, keep: Any) -> None:
        """Update the averages; with `lookahead`, go on from them."""
        for name, variable in self._averaged.items():
            average = keep * self.variables[name] + (1 - keep) * variable
            self.variables[name].assign(average)
            if self.recipe.weight_averaging == "lookahead":
                variable.assign(average)

    def _predict(self, images: Any, settings: Settings) -> Any:
        logits = self.model(scaled(images, settings), training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))


@lru_cache(maxsize=1)
def _padded(split: Split, shift: int, mode: ShiftMode) -> np.ndarray:
    """Return the padded training images for `augment.batch`. Cached for all epochs; takes 200 MB."""
    return augment.padded(split.train_images, shift, mode)


def scaled(images: Any, settings: Settings) -> Any:
    """Return the pixels as inputs of the network, float32."""
    return (tf.cast(images, tf.float32) - settings.offset) / settings.unit * settings.factor


def on_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
