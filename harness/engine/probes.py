"""Probes: gradients, activations and drift inside a network during training, for each layer and epoch.

All are measured on the same training images in training mode (normalization with the batch's own statistics), but
without augmentation and dropout, to remove the randomness, and in float32, to reduce rounding errors. Gradients are
those of few images, activations those of more. The probed network is a copy that gets the weights of a state. The
network that trains is never changed.
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

#: The asymptotes of the activations that have two. A value is saturated if its distance to an asymptote is at most
#: 5 % of the distance between them.
ASYMPTOTES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
SATURATED_WITHIN = 0.05

#: Lower bound on standard deviations in `input_drift`, for channels that are almost constant.
SMALLEST_STD = 1e-3

#: Activations are measured on 52 images of each class.
ACTIVATION_IMAGES = 520

#: Of each channel, `input_drift` compares this many values.
DRIFT_VALUES = 1024


def probe_images(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images for the probes, uint8 [n, 32, 32, 3], and their labels, int32 [n].

    They are the first images of each class, the same for every variant. With a budget of few images each seed has its
    own. n is ACTIVATION_IMAGES or, with fewer than four times as many training images, a quarter of those.
    """
    part = subset(split, min(ACTIVATION_IMAGES, max(len(split.train_images) // 4, CLASSES)), 1)
    return part.train_images, part.train_labels


def gradient_rows(labels: np.ndarray, train_images: int) -> np.ndarray:
    """Return the rows of the probe images whose gradients are measured: the first of each class, 10 to 80 in all.

    labels: of the probe images. The number grows with the training images, so that measuring costs a few percent of an
    epoch (docs/speed.md): each of the eleven layers with a kernel takes a forward and a backward pass.
    """
    each = min(max(train_images // 2250, 1), 8)
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in np.unique(labels)]))


def scaled(images: np.ndarray, network: Network, pixels: PixelStatistics) -> np.ndarray:
    """Return uint8 images [n, 32, 32, 3] as inputs of the network, float32. pixels: of all training images."""
    offset, unit = {"raw": (0.0, 1.0), "unit": (0.0, 255.0), "standardised": pixels}[network.input_scaling]
    return (images.astype(np.float32) - np.asarray(offset, np.float32)) / np.asarray(unit, np.float32)


class Passes(Protocol):
    """The forward and backward passes of the probes, in float32, compiled by an engine for one network.

    weights: float32 arrays in the order of the network's trainable variables. inputs: scaled images, float32
    [n, 32, 32, 3].
    """

    network: "ProbedNetwork"

    def gradients(self, weights: Sequence[Any], inputs: Any, targets: Any) -> Sequence[Any]:
        """Return the loss gradient of every kernel. targets: probabilities, float32 [n, 10]."""

    def describe(self, weights: Sequence[Any], inputs: Any) -> Sequence[Mapping[str, Any]]:
        """Return the statistics of `ProbedNetwork.describe`."""


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

        Activations also have the fraction of dead channels (ReLU) or of saturated values (sigmoid, tanh). Inputs of
        layers also have some values of each channel in ascending order, [m, C].
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
            if i in self.inputs.values():
                values = ops.reshape(tensor, (-1, tensor.shape[-1]))
                # One row in so many: with an odd stride, from all places of the images.
                stride = max(1, values.shape[0] // DRIFT_VALUES) | 1
                entry["sorted"] = ops.sort(values[::stride], axis=0)
            described.append(entry)
        return described


class Measured(NamedTuple):
    """What is measured of one state: the gradient of each layer's kernel, and what `describe` returns."""

    gradients: Mapping[str, np.ndarray]
    described: Sequence[Mapping[str, Any]]


class Probes:
    """Measures states of any run with the network of `passes`, whatever the run's seed and optimizer.

    inputs: scaled images, float32 [n, 32, 32, 3]. labels: integers [n]. rows: of them, those for gradients.
    """

    def __init__(
        self, passes: Passes, label_smoothing: float, inputs: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> None:
        self._passes, self._network, self._inputs = passes, passes.network, inputs
        targets = np.eye(CLASSES, dtype=np.float32)[labels[rows]] * (1 - label_smoothing) + label_smoothing / CLASSES
        self._batch = inputs[rows], targets.astype(np.float32)
        self._last: tuple[State, Measured] | None = None

    def measure(self, before: State, stepped: State, after: State) -> dict[str, float]:
        """Return the metrics of an epoch, as "metric/layer" -> value.

        before, after: the states before and after the epoch; stepped: after its first step. A metric without a value is
        nan or inf: the network has diverged, or a gradient to compare with is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # An epoch begins with the state at the end of the last one, which was usually measured after that epoch.
            old = self._last[1] if self._last and self._last[0] is before else self._measured(before)
            new = self._measured(after)
            self._last = (after, new)
            return {
                **_gradient_norms(new.gradients),
                **self._activation_metrics(new.described),
                **{
                    f"input_drift/{name}": _drift(old.described[i], new.described[i])
                    for name, i in self._network.inputs.items()
                },
                **self._gradient_changes(before, stepped, old.gradients),
            }

    def _measured(self, state: State) -> Measured:
        weights = self._weights(state)
        return Measured(self._gradients(weights), self._passes.describe(weights, self._inputs))

    def _gradients(self, weights: Sequence[Any]) -> dict[str, np.ndarray]:
        found = self._passes.gradients(weights, *self._batch)
        return {layer: _flat(gradient) for layer, gradient in zip(self._network.kernels, found, strict=True)}

    def _weights(self, state: State) -> list[Any]:
        return [state[name] for name in self._network.weights]

    def _gradient_changes(self, before: State, stepped: State, gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Compare the gradient of each layer with its gradient after the layers below it have taken a step.

        This is definition 2.1 of Santurkar et al. 2018, "How does batch normalization help optimization?", with the
        optimizer's own step on the first batch of the epoch. There is one difference: the distance is divided by the
        norm of the first gradient, because networks differ in the scale of their gradients.
        """
        old, new = self._weights(before), self._weights(stepped)
        metrics = {}
        for layer, kernel in list(self._network.kernels.items())[1:]:
            # The weights are in layer order: those before the kernel belong to the layers below.
            one, other = gradients[layer], self._gradients([*new[:kernel], *old[kernel:]])[layer]
            length = np.linalg.norm(one)
            metrics[f"gradient_change/{layer}"] = float(np.linalg.norm(other - one) / length)
            metrics[f"gradient_cosine/{layer}"] = float(one @ other / (length * np.linalg.norm(other)))
        return metrics

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


def _gradient_norms(gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
    norms = {layer: np.linalg.norm(gradient) for layer, gradient in gradients.items()}
    first, last = (norms[layer] for layer in GRADIENT_RATIO_LAYERS)
    return {f"gradient_norm/{layer}": float(norm) for layer, norm in norms.items()} | {
        "gradient_ratio": float(first / last)
    }


def _flat(tensor: Any) -> np.ndarray:
    return np.asarray(tensor, np.float64).ravel()


def _drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Return how far the distribution of each channel's standardised values has moved, averaged over the channels.

    Values are standardised with the channel's own mean and standard deviation, before and after. Batch normalization
    fixes these two, so a distance that included them would be small with it by construction. What is left is the shape
    of the distribution. The distance is Wasserstein's (order 1), in standard deviations: the mean distance of the
    sorted values. A channel that was dead and becomes active has moved by at most 1.
    """
    return float(np.mean(np.abs(_standardised(after) - _standardised(before))))


def _standardised(described: Mapping[str, Any]) -> np.ndarray:
    values = np.asarray(described["sorted"], np.float64)
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), SMALLEST_STD)
