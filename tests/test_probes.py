"""Probes measure what plain Keras and NumPy measure, and leave no trace in what they measure."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from conftest import SMALL_RECIPE, small_config

from harness.config import Network
from harness.data import Split
from harness.engine.backend import import_keras, open_engine
from harness.engine.protocol import State

import_keras("tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from harness.engine.network import build, pixel_statistics  # noqa: E402
from harness.engine.probes import GRADIENT_CHANGE_LAYERS, Probes, probe_images, probe_size, scaled  # noqa: E402
from harness.engine.tensorflow.probe_passes import TensorFlowPasses  # noqa: E402

CONVS = [f"block{block}_conv{conv}" for block in (1, 2, 3) for conv in (1, 2, 3)]
BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


def plain(network: Network, split: Split, seed: int = 0) -> keras.Model:
    """The network of plain Keras layers, without dropout."""
    recipe = dataclasses.replace(SMALL_RECIPE, dropout=(0.0, 0.0, 0.0, 0.0))
    return build(network, recipe, seed, *pixel_statistics(split.train_images), output="linear")


def state_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"model/{variable.path}": variable.numpy() for variable in model.variables}


def probes_of(network: Network, split: Split) -> Probes:
    inputs = scaled(split.train_images[:16], network, pixel_statistics(split.train_images))
    return Probes(TensorFlowPasses(network), SMALL_RECIPE.label_smoothing, inputs, split.train_labels[:16])


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
    """The same 16 images through plain Keras layers, one operation after the other."""

    def __init__(self, split: Split, network: Network | None = None) -> None:
        self.model = plain(network or Network(), split)
        self.images, self.labels = split.train_images[:16].astype(np.float32), split.train_labels[:16]

    def write(self, state: State, holds: Callable[[str], bool] = lambda name: True) -> None:
        for variable in self.model.trainable_variables:
            if holds(variable.path):
                variable.assign(state[f"model/{variable.path}"])

    def gradients(self) -> dict[str, np.ndarray]:
        kernels = {v.path.split("/")[0]: v.value for v in self.model.trainable_variables if v.path.endswith("kernel")}
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMALL_RECIPE.label_smoothing)
        with tf.GradientTape() as tape:
            value = loss(np.eye(10)[self.labels], self.model(self.images, training=True))
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
    measured = probes.measure(before, after, 4)
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


def test_drift_is_how_far_channel_means_have_moved(
    probes: Probes, reference: Reference, before: State, after: State
) -> None:
    measured = probes.measure(before, after, 4)
    for name, source in {"block1_conv2": "block1_conv1_relu", "dense": "block3_pool"}.items():
        inputs = []
        for state in (before, after):
            reference.write(state)
            inputs.append(reference.output(source).reshape(16, -1, reference.output(source).shape[-1]))
        moved = np.abs(inputs[1].mean(axis=(0, 1)) - inputs[0].mean(axis=(0, 1)))
        std = np.sqrt((inputs[0].var(axis=(0, 1)) + inputs[1].var(axis=(0, 1))) / 2)
        assert measured[f"input_drift/{name}"] == pytest.approx((moved / std).mean(), rel=1e-3)


def test_gradient_change_is_that_of_moving_only_what_is_below(small_split: Split, before: State, after: State) -> None:
    # A ReLU whose input is 0 but for rounding is open in one program and closed in the other, which alone changes a
    # cosine in its fourth digit. GELU has no such edge, and the same weights.
    network = Network(activation="gelu")
    reference = Reference(small_split, network)
    measured = probes_of(network, small_split).measure(before, after, 4)
    moved = {name: after[name] + (after[name] - before[name]) / 4 for name in before}
    below = {
        "block2_conv1": ("block1_",),
        "block3_conv1": ("block1_", "block2_"),
        "dense": ("block1_", "block2_", "block3_"),
    }
    assert tuple(below) == GRADIENT_CHANGE_LAYERS
    reference.write(after)
    unmoved = reference.gradients()
    for name, blocks in below.items():
        reference.write(after)
        reference.write(moved, lambda path, blocks=blocks: path.startswith(blocks))
        one, other = unmoved[name].ravel(), reference.gradients()[name].ravel()
        change = np.linalg.norm(other - one) / np.linalg.norm(one)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert change > 0.01
        assert measured[f"gradient_change/{name}"] == pytest.approx(change, rel=5e-3)
        assert measured[f"gradient_cosine/{name}"] == pytest.approx(cosine, rel=1e-4)


def test_nothing_moves_between_a_state_and_itself(probes: Probes, before: State) -> None:
    measured = probes.measure(before, dict(before), 4)
    assert not any(value for name, value in measured.items() if name.startswith("input_drift/"))
    for name in GRADIENT_CHANGE_LAYERS:
        # The gradients compared come from two compiled functions: equal to rounding, at least.
        assert measured[f"gradient_change/{name}"] == pytest.approx(0, abs=1e-5)
        assert measured[f"gradient_cosine/{name}"] == pytest.approx(1)


def test_a_measurement_depends_on_no_other(probes: Probes, before: State, after: State) -> None:
    last = close_to(after, 2)
    alone = probes.measure(dict(after), last, 4)
    probes.measure(before, after, 4)
    in_a_row = probes.measure(after, last, 4)
    assert in_a_row == alone


def test_measuring_leaves_no_trace(probes: Probes, small_split: Split) -> None:
    # In bfloat16, which measuring switches off and on again.
    config = dataclasses.replace(small_config(), precision="bfloat16")
    engine = open_engine(config, small_split)
    start = engine.initial_state()
    first, _ = engine.train_epoch(start, 0)
    unwatched, _ = engine.train_epoch(first, 1)
    copy = {name: np.array(value) for name, value in first.items()}
    probes.measure(start, first, 4)
    precision = tf.config.optimizer.get_experimental_options()[BFLOAT16]
    watched, _ = engine.train_epoch(first, 1)
    tf.config.optimizer.set_experimental_options({BFLOAT16: False})
    assert precision is True
    assert all(np.array_equal(first[name], copy[name]) for name in copy)
    assert all(np.array_equal(watched[name], unwatched[name]) for name in unwatched)


def test_a_layer_that_nothing_gets_through_is_dead(probes: Probes, before: State) -> None:
    norm = "model/block2_conv2_norm"
    killed = {**before, f"{norm}/beta": before[f"{norm}/beta"] - 1000}
    measured = probes.measure(before, killed, 4)
    assert measured["dead/block2_conv2"] == 1
    assert measured["activation_std/block2_conv2"] == 0
    assert measured["dead/block2_conv1"] < 0.5
    # It was alive before: what died has moved by about a standard deviation, not by infinitely many.
    assert 0.1 < measured["input_drift/block2_conv3"] < 10


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
    measured = probes.measure(state, {**state, kernel: state[kernel] * 1e4}, 4)
    shares = {f"{share}/{name}" for name in [*CONVS, "dense"]} if share else set()
    assert measured.keys() == shares | {
        "gradient_ratio",
        *(f"gradient_norm/{name}" for name in [*CONVS, "dense", "output"]),
        *(f"activation_{kind}/{name}" for kind in ("mean", "std") for name in [*CONVS, "dense"]),
        *(f"input_drift/{name}" for name in [*CONVS[1:], "dense", "output"]),
        *(f"gradient_{kind}/{name}" for kind in ("change", "cosine") for name in GRADIENT_CHANGE_LAYERS),
    }
    assert all(np.isfinite(value) for value in measured.values())
    assert measured["input_drift/block1_conv2"] == 0
    assert measured["input_drift/block1_conv3"] > 0
    if share == "saturated":
        assert measured["saturated/block1_conv2"] > 0.99
        assert measured["saturated/block1_conv1"] < 0.9
    # What is not a number is said to be none. (Above the next pooling it is a number again: a maximum passes nan over.)
    lost = probes.measure(state, {**state, kernel: state[kernel] * np.nan}, 4)
    unknown = [
        "gradient_norm/block1_conv1",
        "gradient_ratio",
        "activation_std/block1_conv2",
        "input_drift/block1_conv3",
    ]
    unknown += [f"{share}/block1_conv3"] if share else []
    assert {name: lost[name] for name in unknown if not np.isnan(lost[name])} == {}
    assert np.isfinite(lost["activation_std/block1_conv1"])


@pytest.mark.parametrize(
    ("train_images", "probed"), [(50_000, 220), (45_000, 200), (10_000, 40), (512, 20), (10**6, 250)]
)
def test_probes_are_few_beside_the_images_trained_on(train_images: int, probed: int) -> None:
    assert probe_size(train_images) == probed


def test_every_class_is_probed_alike(small_split: Split) -> None:
    images, labels = probe_images(small_split)
    assert images.shape == (20, 32, 32, 3)
    assert np.bincount(labels).tolist() == [2] * 10
