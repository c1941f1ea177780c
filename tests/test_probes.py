"""Probes measure what plain Keras and NumPy measure, and leave no trace in what they measure."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from conftest import SMALL_RECIPE, small_config

from harness.config import Network
from harness.data import Split
from harness.engine.backend import import_keras, open_engine
from harness.engine.protocol import State

import_keras("tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from harness.engine.network import build, pixel_statistics  # noqa: E402
from harness.engine.probes import DRIFT_VALUES, Probes, gradient_rows, probe_images, scaled  # noqa: E402
from harness.engine.tensorflow.probe_passes import TensorFlowPasses  # noqa: E402

#: The first images of the small split, for activations, and how many of them for gradients.
IMAGES, FOR_GRADIENTS = 24, 16
CONVS = [f"block{block}_conv{conv}" for block in (1, 2, 3) for conv in (1, 2, 3)]
BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


def plain(network: Network, split: Split, seed: int = 0) -> keras.Model:
    """The network of plain Keras layers, without dropout."""
    recipe = dataclasses.replace(SMALL_RECIPE, dropout=(0.0, 0.0, 0.0, 0.0))
    return build(network, recipe, seed, *pixel_statistics(split.train_images), output="linear")


def state_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"model/{variable.path}": variable.numpy() for variable in model.variables}


def probes_of(network: Network, split: Split) -> Probes:
    inputs = scaled(split.train_images[:IMAGES], network, pixel_statistics(split.train_images))
    labels, rows = split.train_labels[:IMAGES], np.arange(FOR_GRADIENTS)
    return Probes(TensorFlowPasses(network), SMALL_RECIPE.label_smoothing, inputs, labels, rows)


def close_to(state: State, seed: int) -> dict[str, np.ndarray]:
    """Where a few steps might have led: every weight of the state moved by a little."""
    rng = np.random.default_rng(seed)
    return {
        name: (value + 0.02 * rng.normal(size=value.shape)).astype(value.dtype) if value.dtype == np.float32 else value
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def probes(small_split: Split) -> Probes:
    return probes_of(Network(), small_split)


@pytest.fixture(scope="module")
def before(small_split: Split) -> State:
    return state_of(plain(Network(), small_split))


@pytest.fixture(scope="module")
def after(before: State) -> State:
    return close_to(before, 1)


class Reference:
    """The same images through plain Keras layers, one operation after the other."""

    def __init__(self, split: Split, network: Network | None = None) -> None:
        self.model = plain(network or Network(), split)
        self.images, self.labels = split.train_images[:IMAGES].astype(np.float32), split.train_labels[:IMAGES]

    def write(self, state: State, holds: Callable[[str], bool] = lambda name: True) -> None:
        for variable in self.model.trainable_variables:
            if holds(variable.path):
                variable.assign(state[f"model/{variable.path}"])

    def gradients(self) -> dict[str, np.ndarray]:
        kernels = {v.path.split("/")[0]: v.value for v in self.model.trainable_variables if v.path.endswith("kernel")}
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMALL_RECIPE.label_smoothing)
        with tf.GradientTape() as tape:
            images, labels = self.images[:FOR_GRADIENTS], self.labels[:FOR_GRADIENTS]
            value = loss(np.eye(10)[labels], self.model(images, training=True))
        return {name: gradient.numpy() for name, gradient in tape.gradient(value, kernels).items()}

    def output(self, layer: str) -> np.ndarray:
        part = keras.Model(self.model.input, self.model.get_layer(layer).output)
        return part(self.images, training=True).numpy()


@pytest.fixture(scope="module")
def reference(small_split: Split) -> Reference:
    return Reference(small_split)


def test_gradients_and_activations_are_those_of_plain_keras(
    probes: Probes, reference: Reference, before: State, after: State
) -> None:
    measured = probes.measure(before, after, after)
    reference.write(after)
    norms = {name: np.linalg.norm(gradient) for name, gradient in reference.gradients().items()}
    assert list(norms) == [*CONVS, "dense", "output"]
    for name, norm in norms.items():
        assert measured[f"gradient_norm/{name}"] == pytest.approx(norm, rel=1e-3)
    assert measured["gradient_ratio"] == pytest.approx(norms["block1_conv1"] / norms["block3_conv3"], rel=1e-3)
    for name in ("block1_conv1", "block2_conv3", "dense"):
        activations = reference.output("dense" if name == "dense" else f"{name}_relu")
        assert measured[f"activation_mean/{name}"] == pytest.approx(activations.mean(), rel=1e-3)
        assert measured[f"activation_std/{name}"] == pytest.approx(activations.std(), rel=1e-3)
        dead = (activations <= 0).reshape(-1, activations.shape[-1]).all(axis=0)
        assert measured[f"dead/{name}"] == pytest.approx(dead.mean())
    assert 0 < measured["dead/dense"] < 1, "an example in which nothing or everything is dead shows nothing"


def test_drift_is_the_distance_of_standardised_distributions(
    probes: Probes, reference: Reference, before: State, after: State
) -> None:
    measured = probes.measure(before, after, after)
    # The dense layer's 2,048 inputs are 128 channels at 16 positions.
    for name, source in {"block3_conv3": "block3_conv2_relu", "dense": "block3_pool"}.items():
        inputs = []
        for state in (before, after):
            reference.write(state)
            values = reference.output(source)
            values = values.reshape(-1, values.shape[-1])
            stride = max(1, len(values) // DRIFT_VALUES) | 1
            values = values[::stride]
            inputs.append((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-3))
        distances = [
            scipy.stats.wasserstein_distance(*channel) for channel in zip(*(values.T for values in inputs), strict=True)
        ]
        assert measured[f"input_drift/{name}"] == pytest.approx(np.mean(distances), rel=2e-3)


def test_drift_does_not_see_what_batch_normalization_fixes(probes: Probes, before: State) -> None:
    # Another scale of a kernel in front of batch normalization changes nothing behind it; the normalization's own scale
    # and offset, where no value passes ReLU's corner, change mean and deviation, and nothing of the shape.
    norm = "model/block1_conv1_norm"
    open_wide = {**before, f"{norm}/beta": before[f"{norm}/beta"] + 100}
    moved = {**open_wide, f"{norm}/beta": before[f"{norm}/beta"] + 200, f"{norm}/gamma": before[f"{norm}/gamma"] * 3}
    measured = probes.measure(open_wide, moved, moved)
    assert measured["input_drift/block1_conv2"] < 1e-3
    assert probes.measure(before, moved, moved)["input_drift/block1_conv2"] > 0.1


def test_gradient_change_is_that_of_a_step_below_alone(small_split: Split, before: State, after: State) -> None:
    # A ReLU whose input is 0 but for rounding is open in one program and closed in the other, which alone changes a
    # cosine in its fourth digit. GELU has no such edge, and the same weights.
    network = Network(activation="gelu")
    reference = Reference(small_split, network)
    measured = probes_of(network, small_split).measure(before, after, close_to(after, 2))
    reference.write(before)
    unmoved = reference.gradients()
    layers = list(unmoved)
    for i, name in list(enumerate(layers))[1:]:
        below = tuple(f"{layer}{part}/" for layer in layers[:i] for part in ("", "_norm"))
        reference.write(before)
        reference.write(after, lambda path, below=below: path.startswith(below))
        one, other = unmoved[name].ravel(), reference.gradients()[name].ravel()
        change = np.linalg.norm(other - one) / np.linalg.norm(one)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert change > 0.01
        assert measured[f"gradient_change/{name}"] == pytest.approx(change, rel=5e-3)
        assert measured[f"gradient_cosine/{name}"] == pytest.approx(cosine, abs=2e-3)


def test_nothing_moves_between_a_state_and_itself(probes: Probes, before: State) -> None:
    measured = probes.measure(before, before, dict(before))
    assert not any(value for name, value in measured.items() if name.startswith("input_drift/"))
    for name in [*CONVS[1:], "dense", "output"]:
        assert measured[f"gradient_change/{name}"] == 0
        assert measured[f"gradient_cosine/{name}"] == pytest.approx(1)


def test_a_measurement_depends_on_no_other(probes: Probes, before: State, after: State) -> None:
    last = close_to(after, 2)
    alone = probes.measure(dict(after), last, last)
    probes.measure(before, after, after)
    in_a_row = probes.measure(after, last, last)
    assert in_a_row == alone


def test_measuring_leaves_no_trace(probes: Probes, small_split: Split) -> None:
    # In bfloat16, which measuring switches off and on again.
    config = dataclasses.replace(small_config(), precision="bfloat16")
    engine = open_engine(config, small_split)
    start = engine.initial_state()
    first, _ = engine.train_epoch(start, 0)
    unwatched, _ = engine.train_epoch(first, 1)
    copy = {name: np.array(value) for name, value in first.items()}
    probes.measure(start, first, first)
    precision = tf.config.optimizer.get_experimental_options()[BFLOAT16]
    watched, _ = engine.train_epoch(first, 1)
    tf.config.optimizer.set_experimental_options({BFLOAT16: False})
    assert precision is True
    assert all(np.array_equal(first[name], copy[name]) for name in copy)
    assert all(np.array_equal(watched[name], unwatched[name]) for name in unwatched)


def test_a_layer_that_nothing_gets_through_is_dead(probes: Probes, before: State) -> None:
    norm = "model/block2_conv2_norm"
    killed = {**before, f"{norm}/beta": before[f"{norm}/beta"] - 1000}
    measured = probes.measure(before, killed, killed)
    assert measured["dead/block2_conv2"] == 1
    assert measured["activation_std/block2_conv2"] == 0
    assert measured["dead/block2_conv1"] < 0.5
    # It was alive before: what died has moved by less than a standard deviation, not by infinitely many.
    assert 0.1 < measured["input_drift/block2_conv3"] <= 1


@pytest.mark.parametrize(
    ("normalization", "place", "activation", "share"),
    [
        ("none", "before", "sigmoid", "saturated"),
        ("batch", "after", "tanh", "saturated"),
        ("group", "before", "gelu", ""),
    ],
)
def test_every_network_has_its_metrics(
    small_split: Split, normalization: str, place: str, activation: str, share: str
) -> None:
    network = Network(normalization=normalization, normalization_place=place, activation=activation)  # type: ignore
    state = state_of(plain(network, small_split))
    kernel = "model/block1_conv2/kernel"
    probes = probes_of(network, small_split)
    much = {**state, kernel: state[kernel] * 1e4}
    measured = probes.measure(state, much, much)
    shares = {f"{share}/{name}" for name in [*CONVS, "dense"]} if share else set()
    assert measured.keys() == shares | {
        "gradient_ratio",
        *(f"gradient_norm/{name}" for name in [*CONVS, "dense", "output"]),
        *(f"activation_{kind}/{name}" for kind in ("mean", "std") for name in [*CONVS, "dense"]),
        *(f"input_drift/{name}" for name in [*CONVS[1:], "dense", "output"]),
        *(f"gradient_{kind}/{name}" for kind in ("change", "cosine") for name in [*CONVS[1:], "dense", "output"]),
    }
    assert all(np.isfinite(value) for value in measured.values())
    assert measured["input_drift/block1_conv2"] == 0
    assert measured["input_drift/block1_conv3"] > 0
    if share == "saturated":
        assert measured["saturated/block1_conv2"] > 0.99
        assert measured["saturated/block1_conv1"] < 0.9
    # What is not a number is said to be none. (Above the next pooling it is a number again: a maximum passes nan over.)
    nothing = {**state, kernel: state[kernel] * np.nan}
    lost = probes.measure(state, nothing, nothing)
    unknown = [
        "gradient_norm/block1_conv1",
        "gradient_ratio",
        "activation_std/block1_conv2",
        "input_drift/block1_conv3",
    ]
    unknown += [f"{share}/block1_conv3"] if share else []
    assert {name: lost[name] for name in unknown if not np.isnan(lost[name])} == {}
    assert np.isfinite(lost["activation_std/block1_conv1"])


@pytest.mark.parametrize(("train_images", "each"), [(50_000, 8), (45_000, 8), (10_000, 4), (5_000, 2), (512, 1)])
def test_gradients_are_those_of_few_images_of_each_class(train_images: int, each: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 52))
    rows = gradient_rows(labels, train_images)
    assert np.bincount(labels[rows]).tolist() == [each] * 10
    assert rows.tolist() == sorted(rows)


def test_every_class_is_probed_alike(small_split: Split) -> None:
    images, labels = probe_images(small_split)
    assert len(images) == max(len(small_split.train_images) // 4, 10)
    counts = np.bincount(labels)
    assert counts.max() - counts.min() <= 1
