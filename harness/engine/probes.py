"""What happens inside a network while it trains: gradients, activations and drift, layer by layer, epoch by epoch.

All of it is measured on the same few training images, without augmentation and without dropout, with the batch's own
normalization statistics and in float32: the network as it trains, less what is random about it and what rounding adds.
The network that is probed is a copy which the weights of a state are written into; what trains is never touched.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harness.config import Network, Recipe
from harness.data import Split, subset
from harness.engine import State
from harness.engine.layers import FusedBatchNormalization
from harness.engine.network import CLASSES, build
from harness.engine.program import PixelStatistics

#: `gradient_ratio` is the gradient's norm at the first of these over its norm at the second: the first convolution and
#: the last.
GRADIENT_RATIO_LAYERS = ("block1_conv1", "block3_conv3")

#: The layers whose `gradient_change` is measured, from below upwards: at the foot of each block that has one below
#: it, and the dense layer. Each costs a pass forward, and backward down to itself.
GRADIENT_CHANGE_LAYERS = ("block2_conv1", "block3_conv1", "dense")

#: The asymptotes of the activations that have two, and how near to one an activation counts as saturated: 5 % of
#: the way from one to the other.
ASYMPTOTES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
SATURATED_WITHIN = 0.05

#: A standard deviation below this counts as this in `input_drift`, lest one all but constant channel outweigh the rest.
SMALLEST_STD = 1e-3


def probe_images(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The training images that are probed, uint8 [n, 32, 32, 3], and their labels, int32 [n].

    The first `probe_size / 10` of each class: the same for every seed and every variant.
    """
    part = subset(split, probe_size(len(split.train_images)), 1)
    return part.train_images, part.train_labels


def probe_size(train_images: int) -> int:
    """How many images are probed: about one in 225, as many of each of ten classes, 20 at least and 250 at most.

    In float32 a measurement takes as long as training on 2.4 times as many images (220 images as long as 530 to 550,
    2-core Xeon 2.80 GHz), so one in 225 is 1.1 % of an epoch, or up to twice that of an epoch in bfloat16; the first
    one of a run takes a pass more, and some seconds to compile. Fewer than two of a class would say little about it:
    below 1,600 training images, whose epochs take seconds, the share is more than 3 %. More than 250 would say little
    more: training itself sees no more than a batch at once.
    """
    return 10 * min(max(train_images // 2250, 2), 25)


class Probes:
    """Measures the states of any run with this network, loss and these images, whatever its seed and optimizer.

    images: uint8 [n, 32, 32, 3], labels: integers [n]; pixels: of all images that the runs train on. Of the recipe,
    the loss matters alone: its label smoothing.
    """

    def __init__(
        self, network: Network, recipe: Recipe, pixels: PixelStatistics, images: np.ndarray, labels: np.ndarray
    ) -> None:
        twin = build(
            network, dataclasses.replace(recipe, dropout=(0.0, 0.0, 0.0, 0.0)), 0, *pixels,
            output="linear", batch_norm=FusedBatchNormalization,
        )  # fmt: skip
        layers = [layer for layer in twin.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
        self._kernels = {layer.name: layer.kernel for layer in layers}
        self._weights = list(twin.trainable_variables)
        self._images = tf.constant(images)
        smoothing = recipe.label_smoothing
        self._targets = tf.one_hot(labels, CLASSES) * (1 - smoothing) + smoothing / CLASSES
        inputs = {layer.name: layer.input for layer in layers[1:]}
        # The 2,048 features of an image are 16 positions of 128 channels, and channels are what drifts.
        inputs["dense"] = twin.get_layer("flatten").input
        activations = {layer.name: twin.get_layer(f"{layer.name}_{network.activation}").output for layer in layers[:-2]}
        activations["dense"] = twin.get_layer("dense").output
        # What is one layer's activation is often the next one's input: each tensor is described once.
        tensors = list({id(tensor): tensor for tensor in (*activations.values(), *inputs.values())}.values())
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        self._inputs = {name: place[id(tensor)] for name, tensor in inputs.items()}
        self._activations = {name: place[id(tensor)] for name, tensor in activations.items()}
        self._activation = network.activation
        self._model = keras.Model(twin.input, [twin.output, *tensors])
        # Without AutoGraph, which nothing here needs, tracing takes a third less.
        self._pass = tf.function(self._gradients_and_tensors, autograph=False)
        self._describe = tf.function(self._statistics, autograph=False)
        self._gradient = {
            layer: tf.function(functools.partial(self._gradient_of, layer), autograph=False)
            for layer in GRADIENT_CHANGE_LAYERS
        }
        self._last: tuple[State, Any] | None = None

    def measure(self, before: State, after: State, steps: int) -> dict[str, float]:
        """The metrics of an epoch of `steps` steps that led from one state to the other, as "metric/layer".

        What has no value (the network has diverged, or a gradient to compare with is 0) is nan or inf.
        """
        with _float32(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # The end of one epoch is the beginning of the next: measured after every epoch, a run saves this pass.
            if self._last is None or self._last[0] is not before:
                self._last = (before, self._look(before)[1])
            old = self._last[1]
            gradients, new = self._look(after)
            self._last = (after, new)
            return {
                **_gradient_norms(gradients),
                **self._activation_metrics(new),
                **{f"input_drift/{name}": _drift(old[i], new[i]) for name, i in self._inputs.items()},
                **self._gradient_changes(gradients, before, after, steps),
            }

    def _look(self, state: State) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The gradients at a state by layer, and the statistics of the tensors."""
        for weight in self._weights:
            weight.assign(np.asarray(state[f"model/{weight.path}"]))
        gradients, tensors = self._pass()
        return dict(zip(self._kernels, gradients, strict=True)), self._describe(tensors)

    def _loss(self) -> tuple[Any, list[Any]]:
        logits, *tensors = self._model(tf.cast(self._images, tf.float32), training=True)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(self._targets, logits)), tensors

    def _gradients_and_tensors(self) -> tuple[list[Any], list[Any]]:
        """The loss gradient of every kernel, and the tensors to describe."""
        with tf.GradientTape() as tape:
            loss, tensors = self._loss()
        return tape.gradient(loss, list(self._kernels.values())), tensors

    def _gradient_of(self, layer: str) -> Any:
        """The loss gradient of one kernel; below its layer there is nothing to go backward through."""
        with tf.GradientTape() as tape:
            loss, _ = self._loss()
        return tape.gradient(loss, self._kernels[layer])

    def _statistics(self, tensors: list[Any]) -> list[dict[str, Any]]:
        """Of each tensor [..., C]: mean and variance [C] of every channel, and of activations the share out of use.

        Out of use means dead or saturated; no other activation than those that can be either has such a share.
        """
        described = []
        for i, tensor in enumerate(tensors):
            axes = list(range(len(tensor.shape) - 1))
            mean, variance = tf.nn.moments(tensor, axes)
            entry = {"mean": mean, "variance": variance}
            if i in self._activations.values():
                if self._activation == "relu":
                    entry["dead"] = tf.reduce_mean(tf.cast(tf.reduce_max(tensor, axes) <= 0, tf.float32))
                if self._activation in ASYMPTOTES:
                    low, high = ASYMPTOTES[self._activation]
                    far = (0.5 - SATURATED_WITHIN) * (high - low)
                    near_asymptote = tf.abs(tensor - (low + high) / 2) >= far
                    entry["saturated"] = tf.reduce_mean(tf.cast(near_asymptote, tf.float32))
            described.append(entry)
        return described

    def _activation_metrics(self, described: list[dict[str, Any]]) -> dict[str, float]:
        metrics = {}
        for layer, i in self._activations.items():
            entry = {name: tensor.numpy().astype(np.float64) for name, tensor in described[i].items()}
            mean = entry["mean"].mean()
            metrics[f"activation_mean/{layer}"] = float(mean)
            metrics[f"activation_std/{layer}"] = float(np.sqrt(entry["variance"].mean() + entry["mean"].var()))
            for share in entry.keys() & {"dead", "saturated"}:
                # nan is neither <= 0 nor near an asymptote; adding it makes the share unknown instead of 0.
                metrics[f"{share}/{layer}"] = float(entry[share] + 0 * mean)
        return metrics

    def _gradient_changes(
        self, gradients: Mapping[str, Any], before: State, after: State, steps: int
    ) -> dict[str, float]:
        """How the gradients of some layers change when the layers below them take one step more.

        Santurkar et al. 2018, "How does batch normalization help optimization?", definition 2.1: the gradient of
        layer i with all layers as they are, against its gradient once the layers below have been updated. There the
        update is the optimizer's next one; here it is the mean update of the epoch that is over,
        (after - before) / steps: any optimizer has one, with its learning rate, momentum and weight decay in it.
        What the steps of an epoch undo of each other it lacks, so it is shorter than a step. And the difference is
        relative here, to the length of the first gradient: networks differ in the scale of theirs.
        """
        metrics: dict[str, float] = {}
        moved = 0
        for layer in GRADIENT_CHANGE_LAYERS:
            kernel = next(i for i, weight in enumerate(self._weights) if weight is self._kernels[layer])
            # Weights stand in layer order, and what moved for the layer before is below this one too.
            for weight in self._weights[moved:kernel]:
                old, new = (np.asarray(state[f"model/{weight.path}"]) for state in (before, after))
                weight.assign(new + (new - old) / np.float32(steps))
            moved = kernel
            metrics |= _change(layer, gradients[layer], self._gradient[layer]())
        return metrics


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Keep a CPU's convolutions from bfloat16, whose rounding alone changes a gradient by up to 9 % (measured)."""
    # TensorFlow looks at this whenever a compiled function is called; each way of compiling it is kept.
    option = "auto_mixed_precision_onednn_bfloat16"
    set_before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: set_before})


def _gradient_norms(gradients: Mapping[str, Any]) -> dict[str, float]:
    norms = {layer: np.linalg.norm(_flat(gradient)) for layer, gradient in gradients.items()}
    first, last = (norms[layer] for layer in GRADIENT_RATIO_LAYERS)
    return {f"gradient_norm/{layer}": float(norm) for layer, norm in norms.items()} | {
        "gradient_ratio": float(first / last)
    }


def _change(layer: str, gradient: Any, changed: Any) -> dict[str, float]:
    one, other = _flat(gradient), _flat(changed)
    length = np.linalg.norm(one)
    return {
        f"gradient_change/{layer}": float(np.linalg.norm(other - one) / length),
        f"gradient_cosine/{layer}": float(one @ other / (length * np.linalg.norm(other))),
    }


def _flat(tensor: Any) -> np.ndarray:
    return np.asarray(tensor, np.float64).ravel()


def _drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """How far the channels' means have moved, in standard deviations; the mean over the channels.

    In units of the root mean square of the standard deviations before and after (Cohen's d): a channel that was dead
    and comes to life has moved by about 1, where in units of its old standard deviation it would by infinitely many.
    """
    moved = np.abs(_flat(after["mean"]) - _flat(before["mean"]))
    variance = (_flat(before["variance"]) + _flat(after["variance"])) / 2
    return float(np.mean(moved / np.sqrt(np.maximum(variance, SMALLEST_STD**2))))
