"""Probes: gradients, activations and drift inside a network during training, for each layer and epoch.

All are measured on the same few training images in training mode (normalization with the batch's own statistics), but
without augmentation and dropout, to remove the randomness, and in float32, to reduce rounding errors. The probed
network is a copy that gets the weights of a state. The network that trains is never changed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from keras import ops

from harness.config import Network
from harness.data import Split, subset
from harness.engine.network import CLASSES, PixelStatistics, build
from harness.engine.protocol import State
from harness.recipes import FAST

#: `gradient_ratio` is the gradient norm of the first of these layers divided by that of the second: the first and the
#: last convolution.
GRADIENT_RATIO_LAYERS = ("block1_conv1", "block3_conv3")

#: The layers whose `gradient_change` is measured, from input to output: the first convolution of each block but the
#: first, and the dense layer. Each costs a forward pass, and a backward pass down to this layer.
GRADIENT_CHANGE_LAYERS = ("block2_conv1", "block3_conv1", "dense")

#: The asymptotes of the activations that have two. A value is saturated if its distance to an asymptote is at most
#: 5 % of the distance between them.
ASYMPTOTES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
SATURATED_WITHIN = 0.05

#: Lower bound on standard deviations in `input_drift`: an almost constant channel would otherwise dominate the mean.
SMALLEST_STD = 1e-3


def probe_images(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images for the probes, uint8 [n, 32, 32, 3], and their labels, int32 [n].

    They are the first `probe_size / 10` images of each class, the same for every variant. With a budget of few images
    each seed has its own.
    """
    part = subset(split, probe_size(len(split.train_images)), 1)
    return part.train_images, part.train_labels


def probe_size(train_images: int) -> int:
    """Return the number of probe images: about one training image in 225, between 20 and 250, equally many per class.

    This costs about 1 % of an epoch (docs/speed.md). Fewer than two images of a class would say little about it. More
    than 250 images would add little: training itself uses one batch at a time.
    """
    return 10 * min(max(train_images // 2250, 2), 25)


def scaled(images: np.ndarray, network: Network, pixels: PixelStatistics) -> np.ndarray:
    """Return uint8 images [n, 32, 32, 3] as inputs of the network, float32. pixels: of all training images."""
    offset, unit = {"raw": (0.0, 1.0), "unit": (0.0, 255.0), "standardised": pixels}[network.input_scaling]
    return (images.astype(np.float32) - np.asarray(offset, np.float32)) / np.asarray(unit, np.float32)


class Look(NamedTuple):
    """What the passes show of a network with some weights.

    gradients: the loss gradient of every kernel. described: the statistics of `ProbedNetwork.describe`. changed: for
    each layer of GRADIENT_CHANGE_LAYERS, the gradient of its kernel after the layers below it have moved.
    """

    gradients: Sequence[Any]
    described: Sequence[Mapping[str, Any]]
    changed: Sequence[Any]


class Passes(Protocol):
    """The forward and backward passes of the probes, in float32, compiled by an engine for one network."""

    network: "ProbedNetwork"

    def look(
        self, weights: Sequence[np.ndarray], moved: Sequence[np.ndarray], inputs: np.ndarray, targets: np.ndarray
    ) -> Look:
        """Compute what the probes need.

        weights, moved: float32 arrays in the order of the network's trainable variables, now and one step later.
        inputs: scaled images, float32 [n, 32, 32, 3]. targets: probabilities, float32 [n, 10].
        """


class ProbedNetwork:
    """A copy of a network that returns, beside its logits, the tensors that the probes describe.

    model: maps scaled images [n, 32, 32, 3] to [logits, *tensors]. kernels: layer -> index of its kernel among the
    trainable variables. inputs, activations: layer -> index of its input or activation among the tensors.
    batch_norm, max_pool: the engine's own layers.
    """

    def __init__(
        self,
        network: Network,
        batch_norm: type[keras.layers.Layer],
        max_pool: type[keras.layers.Layer],
    ) -> None:
        # A network depends on its recipe only through dropout and the momentum of normalization's moving statistics.
        # There is no dropout here, and the moving statistics are not used.
        recipe = dataclasses.replace(FAST, dropout=(0.0, 0.0, 0.0, 0.0))
        unscaled = dataclasses.replace(network, input_scaling="raw")
        twin = build(unscaled, recipe, output="linear", batch_norm=batch_norm, max_pool=max_pool)
        layers = [layer for layer in twin.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
        self.weights = [f"model/{weight.path}" for weight in twin.trainable_variables]
        self.kernels = {layer.name: self.weights.index(f"model/{layer.kernel.path}") for layer in layers}
        inputs = {layer.name: layer.input for layer in layers[1:]}
        # Drift is measured per channel: the dense layer's 2,048 inputs are 128 channels at 16 positions.
        inputs["dense"] = twin.get_layer("flatten").input
        activations = {layer.name: twin.get_layer(f"{layer.name}_{network.activation}").output for layer in layers[:-2]}
        activations["dense"] = twin.get_layer("dense").output
        # A layer's activation is often the next layer's input, so remove duplicates: each tensor is described once.
        tensors = list({id(tensor): tensor for tensor in (*activations.values(), *inputs.values())}.values())
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        self.inputs = {name: place[id(tensor)] for name, tensor in inputs.items()}
        self.activations = {name: place[id(tensor)] for name, tensor in activations.items()}
        self._activation = network.activation
        self.model = keras.Model(twin.input, [twin.output, *tensors])

    def describe(self, tensors: Sequence[Any]) -> list[dict[str, Any]]:
        """Return, for each tensor [..., C], the mean and variance [C] of each channel.

        Activations also have the fraction of dead channels (ReLU) or of saturated values (sigmoid, tanh).
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
    """Measures states of any run with the network of `passes`, whatever the run's seed and optimizer.

    inputs: scaled images, float32 [n, 32, 32, 3]. labels: integers [n].
    """

    def __init__(self, passes: Passes, label_smoothing: float, inputs: np.ndarray, labels: np.ndarray) -> None:
        self._passes, self._network, self._inputs = passes, passes.network, inputs
        targets = np.eye(CLASSES, dtype=np.float32)[labels] * (1 - label_smoothing) + label_smoothing / CLASSES
        self._targets = targets.astype(np.float32)
        self._last: tuple[State, Sequence[Mapping[str, Any]]] | None = None

    def measure(self, before: State, after: State, steps: int) -> dict[str, float]:
        """Return the metrics of an epoch, as "metric/layer" -> value.

        before, after: the states before and after the epoch; steps: its number of steps. A metric without a value is
        nan or inf: the network has diverged, or a gradient to compare with is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = self._weights(after)
            # An epoch begins with the state at the end of the last one, which was usually measured after that epoch.
            if self._last is None or self._last[0] is not before:
                old = self._weights(before)
                self._last = (before, self._look(old, old).described)
            described = self._last[1]
            found = self._look(new, self._one_step_on(before, new, steps))
            self._last = (after, found.described)
            gradients = dict(zip(self._network.kernels, found.gradients, strict=True))
            metrics = {
                **_gradient_norms(gradients),
                **self._activation_metrics(found.described),
                **{
                    f"input_drift/{name}": _drift(described[i], found.described[i])
                    for name, i in self._network.inputs.items()
                },
            }
            for layer, changed in zip(GRADIENT_CHANGE_LAYERS, found.changed, strict=True):
                metrics |= _change(layer, gradients[layer], changed)
            return metrics

    def _look(self, weights: Sequence[np.ndarray], moved: Sequence[np.ndarray]) -> Look:
        return self._passes.look(weights, moved, self._inputs, self._targets)

    def _weights(self, state: State) -> list[np.ndarray]:
        return [np.asarray(state[name]) for name in self._network.weights]

    def _one_step_on(self, before: State, weights: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """Return the weights after one more step, to see how far the gradients of the layers above it change.

        Santurkar et al. 2018, "How does batch normalization help optimization?", definition 2.1: compare the gradient
        of layer i with its gradient after the layers below have been updated. There are two differences from the paper.
        The paper uses the optimizer's next update. Here it is the mean update of the last epoch,
        (after - before) / steps: it exists for any optimizer and includes learning rate, momentum and weight decay. It
        is shorter than a step, because the steps of an epoch partly cancel. And the difference here is relative to the
        norm of the first gradient, because networks differ in the scale of their gradients.
        """
        old = self._weights(before)
        return [now + (now - earlier) / np.float32(steps) for now, earlier in zip(weights, old, strict=True)]

    def _activation_metrics(self, described: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        metrics = {}
        for layer, i in self._network.activations.items():
            entry = {name: np.asarray(tensor, np.float64) for name, tensor in described[i].items()}
            mean = entry["mean"].mean()
            metrics[f"activation_mean/{layer}"] = float(mean)
            metrics[f"activation_std/{layer}"] = float(np.sqrt(entry["variance"].mean() + entry["mean"].var()))
            for share in entry.keys() & {"dead", "saturated"}:
                # nan is neither <= 0 nor near an asymptote. Adding it makes the fraction nan instead of 0.
                metrics[f"{share}/{layer}"] = float(entry[share] + 0 * mean)
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
    """Return how far the channels' means have moved, in standard deviations, averaged over the channels.

    The unit is the root mean square of the standard deviations before and after (Cohen's d). A channel that was dead
    and becomes active has moved by about 1; in units of its old standard deviation it would be infinitely far.
    """
    moved = np.abs(_flat(after["mean"]) - _flat(before["mean"]))
    variance = (_flat(before["variance"]) + _flat(after["variance"])) / 2
    return float(np.mean(moved / np.sqrt(np.maximum(variance, SMALLEST_STD**2))))
