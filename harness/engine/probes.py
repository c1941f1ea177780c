"""What happens inside a network while it trains: gradients, activations and drift, layer by layer, epoch by epoch.

All of it is measured on the same few training images, without augmentation and without dropout, with the batch's own
normalization statistics and in float32: the network as it trains, less what is random about it and what rounding adds.
The network that is probed is a copy which the weights of a state are written into; what trains is never touched.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from harness.config import Network
from harness.data import Split, subset
from harness.engine.network import CLASSES, PixelStatistics, build
from harness.engine.protocol import State
from harness.recipes import FAST

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

    One in 225 costs about 1 % of an epoch (docs/speed.md). Fewer than two of a class would say little about it, and
    more than 250 images little more: training itself sees no more than a batch at once.
    """
    return 10 * min(max(train_images // 2250, 2), 25)


class Passes(Protocol):
    """What an engine computes for the probes, in float32.

    weights: float32 arrays, in the order of the network's trainable variables.
    """

    batch_norm: type[keras.layers.Layer]
    max_pool: type[keras.layers.Layer]

    def __init__(self, network: "ProbedNetwork", images: np.ndarray, targets: np.ndarray) -> None: ...

    def look(self, weights: Sequence[np.ndarray]) -> tuple[list[Any], list[dict[str, Any]]]:
        """The loss gradient of every kernel, and what `ProbedNetwork.describe` says of the tensors."""

    def gradient(self, kernel: int, weights: Sequence[np.ndarray]) -> Any:
        """The loss gradient of one kernel, by its place among the kernels."""


class ProbedNetwork:
    """A copy of a network that gives away, beside its logits, the tensors that the probes describe.

    model: images [n, 32, 32, 3] to [logits, *tensors]; kernels: the place of each layer's kernel among its trainable
    variables; inputs, activations: the place of each layer's among the tensors.
    """

    def __init__(
        self,
        network: Network,
        pixels: PixelStatistics,
        batch_norm: type[keras.layers.Layer],
        max_pool: type[keras.layers.Layer],
    ) -> None:
        # Of a recipe it is only dropout that a network is built with, and there is none here.
        recipe = dataclasses.replace(FAST, dropout=(0.0, 0.0, 0.0, 0.0))
        twin = build(network, recipe, 0, *pixels, output="linear", batch_norm=batch_norm, max_pool=max_pool)
        layers = [layer for layer in twin.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
        self.weights = [f"model/{weight.path}" for weight in twin.trainable_variables]
        self.kernels = {layer.name: self.weights.index(f"model/{layer.kernel.path}") for layer in layers}
        inputs = {layer.name: layer.input for layer in layers[1:]}
        # The 2,048 features of an image are 16 positions of 128 channels, and channels are what drifts.
        inputs["dense"] = twin.get_layer("flatten").input
        activations = {layer.name: twin.get_layer(f"{layer.name}_{network.activation}").output for layer in layers[:-2]}
        activations["dense"] = twin.get_layer("dense").output
        # What is one layer's activation is often the next one's input: each tensor is described once.
        tensors = list({id(tensor): tensor for tensor in (*activations.values(), *inputs.values())}.values())
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        self.inputs = {name: place[id(tensor)] for name, tensor in inputs.items()}
        self.activations = {name: place[id(tensor)] for name, tensor in activations.items()}
        self._activation = network.activation
        self.model = keras.Model(twin.input, [twin.output, *tensors])

    def describe(self, tensors: Sequence[Any]) -> list[dict[str, Any]]:
        """Of each tensor [..., C]: mean and variance [C] of every channel, and of activations the share out of use.

        Out of use means dead or saturated; no other activation than those that can be either has such a share.
        """
        described = []
        for i, tensor in enumerate(tensors):
            axes = list(range(len(tensor.shape) - 1))
            mean, variance = ops.moments(tensor, axes)
            entry = {"mean": mean, "variance": variance}
            if i in self.activations.values():
                if self._activation == "relu":
                    entry["dead"] = ops.mean(ops.cast(ops.max(tensor, axes) <= 0, "float32"))
                if self._activation in ASYMPTOTES:
                    low, high = ASYMPTOTES[self._activation]
                    far = (0.5 - SATURATED_WITHIN) * (high - low)
                    near_asymptote = ops.abs(tensor - (low + high) / 2) >= far
                    entry["saturated"] = ops.mean(ops.cast(near_asymptote, "float32"))
            described.append(entry)
        return described


class Probes:
    """Measures the states of any run with this network, loss and these images, whatever its seed and optimizer.

    passes: the engine's. images: uint8 [n, 32, 32, 3], labels: integers [n]; pixels: of all images that the runs train
    on.
    """

    def __init__(
        self,
        passes: type[Passes],
        network: Network,
        label_smoothing: float,
        pixels: PixelStatistics,
        images: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self._network = ProbedNetwork(network, pixels, passes.batch_norm, passes.max_pool)
        targets = np.eye(CLASSES, dtype=np.float32)[labels] * (1 - label_smoothing) + label_smoothing / CLASSES
        self._passes = passes(self._network, images, targets.astype(np.float32))
        self._last: tuple[State, Any] | None = None

    def measure(self, before: State, after: State, steps: int) -> dict[str, float]:
        """The metrics of an epoch of `steps` steps that led from one state to the other, as "metric/layer".

        What has no value (the network has diverged, or a gradient to compare with is 0) is nan or inf.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # The end of one epoch is the beginning of the next: measured after every epoch, a run saves this pass.
            if self._last is None or self._last[0] is not before:
                self._last = (before, self._passes.look(self._weights(before))[1])
            old = self._last[1]
            found, new = self._passes.look(self._weights(after))
            self._last = (after, new)
            gradients = dict(zip(self._network.kernels, found, strict=True))
            return {
                **_gradient_norms(gradients),
                **self._activation_metrics(new),
                **{f"input_drift/{name}": _drift(old[i], new[i]) for name, i in self._network.inputs.items()},
                **self._gradient_changes(gradients, before, after, steps),
            }

    def _weights(self, state: State) -> list[np.ndarray]:
        return [np.asarray(state[name]) for name in self._network.weights]

    def _activation_metrics(self, described: list[dict[str, Any]]) -> dict[str, float]:
        metrics = {}
        for layer, i in self._network.activations.items():
            entry = {name: np.asarray(tensor, np.float64) for name, tensor in described[i].items()}
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
        old, new = self._weights(before), self._weights(after)
        moved = [value + (value - earlier) / np.float32(steps) for value, earlier in zip(new, old, strict=True)]
        for layer in GRADIENT_CHANGE_LAYERS:
            # Weights stand in layer order: those before the kernel are those of the layers below.
            kernel = self._network.kernels[layer]
            place = list(self._network.kernels).index(layer)
            changed = self._passes.gradient(place, [*moved[:kernel], *new[kernel:]])
            metrics |= _change(layer, gradients[layer], changed)
        return metrics


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
