"""The network is the notebook's, the fused layer is Keras's, and an epoch is a function of its state."""

import dataclasses

import numpy as np
import pytest
from conftest import SMALL_RECIPE, small_config

from harness.config import Network, Recipe
from harness.data import Split
from harness.engine.backend import import_keras, open_engine
from harness.recipes import RECIPES

import_keras("tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from harness.engine.layers import FirstMaxPooling2D, TracedDropout  # noqa: E402
from harness.engine.loop import weights_sha256  # noqa: E402
from harness.engine.network import build, forward_flops, pixel_statistics, training_flops  # noqa: E402
from harness.engine.optimizers import (  # noqa: E402  # noqa: E402
    Muon,
    Told,
    build_optimizer,
    orthogonalize,
    orthogonalize_together,
    told,
)
from harness.engine.pixels import pixels_of  # noqa: E402
from harness.engine.tensorflow.engine import TensorFlowEngine  # noqa: E402
from harness.engine.tensorflow.engine import _program as programs  # noqa: E402
from harness.engine.tensorflow.program import (  # noqa: E402
    FusedBatchNormalization,
    scaled,
    settings_of,
)


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_is_the_18_layers_of_the_notebook(name: str) -> None:
    network, recipe = RECIPES[name]
    model = build(network, recipe)
    kinds = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Dropout, keras.layers.Dense)
    layers = [layer for layer in model.layers if isinstance(layer, kinds)]
    block = ["Conv2D"] * 3 + ["MaxPooling2D", "Dropout"]
    assert [type(layer).__name__ for layer in layers] == [*block * 3, "Dense", "Dropout", "Dense"]
    assert len(layers) == 18
    assert [layer.filters for layer in layers if hasattr(layer, "filters")] == [32] * 3 + [64] * 3 + [128] * 3
    assert [layer.units for layer in layers if hasattr(layer, "units")] == [32, 10]
    assert [layer.rate for layer in layers if hasattr(layer, "rate")] == list(recipe.dropout)
    assert model.count_params() == 549_354
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 548_010


def test_counted_operations() -> None:
    model = build(Network(), SMALL_RECIPE)
    assert sum(forward_flops(model).values()) / 1e6 == pytest.approx(134.0, abs=0.05)
    assert training_flops(model) / 1e6 == pytest.approx(400.3, abs=0.1)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("normalization", ["batch", "none", "layer", "group"])
def test_normalization_stands_where_it_is_asked_for(normalization: str, place: str) -> None:
    model = build(Network(normalization=normalization, normalization_place=place), SMALL_RECIPE)
    names = [layer.name for layer in model.layers]
    if normalization == "none":
        assert not any("norm" in name for name in names)
    else:
        first = ["block1_conv1_norm", "block1_conv1_relu"]
        assert names[3:5] == (first if place == "before" else first[::-1])


@pytest.mark.parametrize(("pooling", "kind"), [("max", "MaxPooling2D"), ("average", "AveragePooling2D")])
def test_pooling_is_what_is_asked_for(small_split: Split, pooling: str, kind: str) -> None:
    config = small_config(dataclasses.replace(SMALL_RECIPE, dropout=(0.0,) * 4), Network(pooling=pooling))
    engine = open_engine(config, small_split)
    state, metrics = engine.train_epoch(engine.initial_state(), 0)
    assert np.isfinite(metrics.loss)
    plain = engine.export(state)
    assert [type(plain.get_layer(f"block{block}_pool")).__name__ for block in (1, 2, 3)] == [kind] * 3
    found = engine.evaluate(state, small_split.eval_images)
    np.testing.assert_allclose(plain(small_split.eval_images), found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 32, 32, 32), (5, 8, 8, 128), (1, 2, 2, 1)])
def test_our_max_pooling_is_keras_max_pooling(shape: tuple[int, ...], dtype: str, compiled: bool) -> None:
    rng = np.random.default_rng(0)
    # As a ReLU leaves them: most windows hold the same number twice, many nothing but zeros.
    x = tf.cast(np.maximum(rng.normal(size=shape).round(1), 0), dtype)
    upstream = tf.cast(rng.normal(size=(shape[0], shape[1] // 2, shape[2] // 2, shape[3])), dtype)
    seen = []
    for kind in (keras.layers.MaxPooling2D, FirstMaxPooling2D):
        layer = kind(dtype=dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = tf.function(layer, jit_compile=compiled and kind is FirstMaxPooling2D)(x)
        seen.append([value.numpy().tobytes() for value in (out, tape.gradient(out, x, upstream))])
    assert seen[0] == seen[1]


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    windows = tf.constant([[3, 3, 3, 3], [1, 3, 3, 0], [1, 2, 3, 3], [0, 1, 2, 3]], tf.float32)
    x = tf.reshape(windows, (4, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = FirstMaxPooling2D()(x)
    assert np.argmax(tf.reshape(tape.gradient(out, x), (4, 4)), axis=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("scaling", "mean"), [("raw", 127.5), ("unit", 0.5), ("standardised", 0.0)])
def test_input_scaling(scaling: str, mean: float) -> None:
    model = build(Network(input_scaling=scaling), SMALL_RECIPE, 0, np.full(3, 127.5), np.full(3, 50.0))
    scaled = keras.Model(model.input, model.get_layer("scaling").output)
    pixels = np.linspace(0, 255, 32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3)
    assert np.mean(scaled(pixels)) == pytest.approx(mean, abs=1e-3)


def test_pixel_statistics_are_numpys() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 32, 32, 3), np.uint8)
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)))


def test_the_pixels_of_a_split_are_counted_once(small_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[np.ndarray] = []
    monkeypatch.setattr("harness.engine.pixels.pixel_statistics", lambda images: counted.append(images) or len(counted))
    one, other = dataclasses.replace(small_split), dataclasses.replace(small_split)
    assert [pixels_of(split) for split in (one, other, one)] == [1, 2, 1]
    pixels_of.cache_clear()


def test_fused_batch_normalization_is_keras_batch_normalization() -> None:
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(3, 2, (8, 5, 5, 7)), tf.float32)
    weight = tf.constant(rng.normal(size=(8, 5, 5, 7)), tf.float32)
    seen = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9)
        layer.build(x.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 7))
        layer.beta.assign(np.linspace(-1, 1, 7))
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x, training=True)
            loss = tf.reduce_sum(out * weight)
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        seen.append([out, *gradients, layer.moving_mean.value, layer.moving_variance.value, layer(x, training=False)])
    for keras_value, fused_value in zip(*seen, strict=True):
        np.testing.assert_allclose(fused_value, keras_value, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5])
def test_traced_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    layer = TracedDropout(0.9, seed=1)
    x = tf.ones((100, 1000))
    layer.build(x.shape)
    layer.traced_rate.assign(rate)
    out = layer(x, training=True).numpy()
    assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)
    assert np.array_equal(layer(x, training=False), x)


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_training_learns_and_its_state_is_all_there_is(small_split: Split) -> None:
    config = small_config()
    engine = open_engine(config, small_split)
    states, losses = [engine.initial_state()], []
    for epoch in range(3):
        state, metrics = engine.train_epoch(states[-1], epoch)
        states.append(state)
        losses.append(metrics.loss)
    assert losses[-1] < losses[0]
    assert not equal(states[0], states[1])
    # Another engine, given the state in the middle, ends where the first one did: bit for bit.
    other = open_engine(config, small_split)
    assert equal(other.initial_state(), states[0])
    arrays = {name: np.array(value) for name, value in states[1].items()}
    for epoch in (1, 2):
        arrays, _ = other.train_epoch(arrays, epoch)
    assert equal(arrays, states[3])
    # Evaluation leaves no trace, and the exported plain Keras model computes the same.
    probabilities = other.evaluate(arrays, small_split.eval_images)
    assert equal(other.train_epoch(states[2], 2)[0], states[3])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    plain = other.export(states[3])
    layers = (type(layer) for layer in plain.layers)
    assert all(layer.__module__.startswith("keras.") for layer in layers)
    np.testing.assert_allclose(plain(small_split.eval_images), probabilities, rtol=1e-3, atol=1e-5)
    assert weights_sha256(states[3]) != weights_sha256(states[2])


def test_the_hash_of_the_weights_is_of_the_networks_weights_alone(small_split: Split) -> None:
    engine = open_engine(small_config(), small_split)
    state = dict(engine.initial_state())
    expected = weights_sha256(state)
    of_network = {f"model/{weight.path}" for weight in engine.export(state).weights}
    for name, value in state.items():
        changed = weights_sha256({**state, name: value + np.ones_like(value)})
        assert (changed != expected) == (name in of_network), name
    assert weights_sha256(dict(reversed(state.items()))) == expected


def test_what_a_program_is_told_traces_nothing_anew(small_split: Split) -> None:
    programs.cache_clear()

    def engine_of(**changes: object) -> TensorFlowEngine:
        of_network = {name: changes.pop(name) for name in ("input_scaling", "first_layer", "dirac") if name in changes}
        network = Network(**of_network)  # type: ignore[arg-type]
        seed = changes.pop("seed", 0)
        recipe = dataclasses.replace(SMALL_RECIPE, **changes)  # type: ignore[arg-type]
        return TensorFlowEngine(small_config(recipe, network, seed), small_split)  # type: ignore[arg-type]

    settings = (
        {},
        {"seed": 1},
        {"dropout": (0.5, 0.1, 0.1, 0.25), "dropout_ramp": False},
        {"input_scaling": "raw"},
        {"input_scaling": "unit", "learning_rate": 0.001, "schedule": "constant"},
        {"weight_decay": 0.0},
        {"label_smoothing": 0.0, "flip": False, "shift": 0},
        {"momentum": 0.5},
        {"sgd_ratio": 8.0},
        {"flip": True, "alternating_flip": True},
        {"final_rate": 0.5},
        {"decay_power": 3.0},
        {"first_layer": "whitened"},
        {"dirac": 0.5},
    )
    ends = []
    for changes in settings:
        engine = engine_of(**changes)
        state, metrics = engine.train_epoch(engine.initial_state(), 0)
        engine.evaluate(state, small_split.eval_images)
        assert np.isfinite(metrics.loss)
        ends.append(np.asarray(state["model/dense/kernel"]))
    assert programs.cache_info().currsize == 1
    assert engine._program._train_step.experimental_get_tracing_count() == 1
    assert engine._program._predict_step.experimental_get_tracing_count() == 1
    assert all(not np.array_equal(ends[i], ends[j]) for i in range(len(ends)) for j in range(i))


@pytest.mark.parametrize("scaling", ["raw", "unit", "standardised"])
def test_the_program_scales_pixels_as_the_network_does(small_split: Split, scaling: str) -> None:
    config = small_config(network=Network(input_scaling=scaling))
    pixels = pixel_statistics(small_split.train_images)
    layer = build(config.network, config.recipe, 0, *pixels).get_layer("scaling")
    images = small_split.train_images[:4]
    assert np.array_equal(scaled(images, settings_of(config, pixels)), layer(images.astype(np.float32)))


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adam", "adamw"])
def test_an_optimizer_that_is_told_its_settings_does_as_one_that_has_them(optimizer: str) -> None:
    config = small_config(
        dataclasses.replace(
            SMALL_RECIPE, optimizer=optimizer, momentum=0.7, weight_decay=0.02, learning_rate=0.1, sgd_ratio=3.0
        )
    )
    settings = settings_of(config, ((0.0,) * 3, (1.0,) * 3))
    rng = np.random.default_rng(0)
    first = [rng.normal(size=shape).astype(np.float32) for shape in ((9, 4), (4,))]
    gradients = [tf.constant(rng.normal(size=value.shape), tf.float32) for value in first]

    def after_two_steps(recipe: Recipe, is_told: bool) -> list[np.ndarray]:
        variables = [keras.Variable(value, name=name) for value, name in zip(first, ("kernel", "bias"), strict=True)]
        itself = build_optimizer(recipe)
        itself.build(variables)
        own = (itself.weight_decay, getattr(itself, "momentum", None), getattr(itself, "beta_1", None))

        def step(given):
            if not is_told:
                itself.apply(gradients, variables)
                return
            with told(itself, given.weight_decay, Told(given.momentum, given.momentum_complement), given.sgd_ratio):
                itself.apply(gradients, variables)

        compiled = tf.function(step, autograph=False)
        for _ in range(2):
            compiled(settings)
        assert own == (itself.weight_decay, getattr(itself, "momentum", None), getattr(itself, "beta_1", None))
        return [np.asarray(variable) for variable in variables]

    other_recipe = dataclasses.replace(config.recipe, momentum=0.5, weight_decay=1.0, sgd_ratio=1.0)
    ends = after_two_steps(config.recipe, False), after_two_steps(other_recipe, True)
    for one, other, origin in zip(*ends, first, strict=True):
        assert np.array_equal(one, other)
        assert not np.array_equal(one, origin)


def test_runs_that_share_a_compiled_program_are_the_runs_they_are_alone(small_split: Split) -> None:
    alone = open_engine(small_config(seed=1), small_split)
    expected = alone.train_epoch(alone.initial_state(), 0)[0]
    first, second = (open_engine(small_config(seed=seed), small_split) for seed in (0, 1))
    other, _ = first.train_epoch(first.initial_state(), 0)
    shared, _ = second.train_epoch(second.initial_state(), 0)
    first.train_epoch(other, 1)
    assert equal(shared, expected)


def test_seeds_differ_in_weights(small_split: Split) -> None:
    states = [open_engine(small_config(seed=seed), small_split).initial_state() for seed in (0, 1)]
    kernel = "model/block1_conv1/kernel"
    assert not np.array_equal(states[0][kernel], states[1][kernel])


@pytest.mark.parametrize("shape", [(27, 32), (288, 32), (1152, 128), (5, 9)])
def test_muon_makes_an_update_orthogonal(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = np.asarray(orthogonalize(tf.constant(matrix)))
    values = np.linalg.svd(made, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # Nearest to the orthogonal factor of the update itself: same singular vectors.
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    assert np.sum(made * (u @ v)) / min(shape) == pytest.approx(values.mean(), rel=1e-3)


def with_spectrum(shape: tuple[int, int], values: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return (u * values @ v).astype(np.float32)


def test_muon_leaves_small_what_is_far_below_the_rest() -> None:
    """A spectrum that falls by four powers of ten: what is over a 500th of the norm is brought near 1, no more."""
    values = np.geomspace(1, 1e-4, 32)
    made = np.linalg.svd(np.asarray(orthogonalize(tf.constant(with_spectrum((288, 32), values)))), compute_uv=False)
    over = (values > np.linalg.norm(values) / 500).sum()
    assert over == 20
    assert (np.sort(made)[-over:] > 0.6).all()
    assert made.max() < 1.3
    assert 0.02 < made.min() < 0.06
    assert made.min() <= 3.4445**5 * values.min() / np.linalg.norm(values) * 1.01


#: Those of the network's hidden kernels, and some that are wide, or small.
MATRICES = [(27, 32), *[(288, 32)] * 2, (288, 64), *[(576, 64)] * 2, (576, 128), *[(1152, 128)] * 2, (2048, 32), (5, 9)]


# Small singular values are multiplied by hundreds, and so is the rounding in them.
@pytest.mark.parametrize(("spectrum", "within"), [("flat", 1e-6), ("decaying", 3e-6)])
def test_matrices_are_orthogonalized_together_as_one_by_one(spectrum: str, within: float) -> None:
    rng = np.random.default_rng(0)
    values = {"flat": lambda n: rng.uniform(0.5, 1, n), "decaying": lambda n: np.geomspace(1, 1e-4, n)}[spectrum]
    matrices = [tf.constant(with_spectrum(shape, values(min(shape)))) for shape in MATRICES]
    for one, matrix in zip(orthogonalize_together(matrices), matrices, strict=True):
        assert one.shape == matrix.shape
        np.testing.assert_allclose(one, orthogonalize(matrix), rtol=0, atol=within)


def test_muon_steps_together_as_one_by_one() -> None:
    ends = []
    for grouped in (False, True):
        rng = np.random.default_rng(0)
        keras.backend.clear_session()
        model = build(Network(), SMALL_RECIPE)
        optimizer = Muon(0.1, momentum=0.9, grouped=grouped)
        optimizer.build(model.trainable_variables)
        for _ in range(2):
            gradients = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in model.trainable_variables]
            optimizer.apply(gradients, model.trainable_variables)
        variables = [*model.trainable_variables, *optimizer.variables]
        ends.append({variable.path: np.asarray(variable) for variable in variables})
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        np.testing.assert_allclose(ends[1][name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("optimizer", ["muon", "adam", "adamw"])
@pytest.mark.parametrize("normalization", ["none", "group"])
def test_every_optimizer_and_normalization_trains(small_split: Split, optimizer: str, normalization: str) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, optimizer=optimizer, learning_rate=1e-3)
    config = small_config(recipe, Network(normalization=normalization, activation="gelu"))
    engine = open_engine(config, small_split)
    _, metrics = engine.train_epoch(engine.initial_state(), 0)
    assert np.isfinite(metrics.loss)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("normalization", ["batch", "none", "group"])
def test_only_the_biases_that_batch_normalization_subtracts_again_are_left_at_0(
    small_split: Split, normalization: str, place: str
) -> None:
    network = Network(normalization=normalization, normalization_place=place)
    model = build(network, dataclasses.replace(SMALL_RECIPE, dropout=(0.0,) * 4), output="linear")
    rng = np.random.default_rng(0)
    images = small_split.train_images[:16]
    logits = model(images, training=True)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions:
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    are_idle = np.allclose(logits, model(images, training=True), rtol=1e-3, atol=1e-3)
    assert are_idle == (normalization == "batch" and place == "before")
    engine = open_engine(small_config(network=network), small_split)
    after, _ = engine.train_epoch(engine.initial_state(), 0)
    for layer in convolutions:
        assert np.any(after[f"model/{layer.name}/bias"]) != are_idle


def test_weight_decay_spares_biases_and_normalization(small_split: Split) -> None:
    # With a vanishing gradient step, only decay moves anything: lr * decay = 0.5 * 1 halves the kernels.
    recipe = dataclasses.replace(
        SMALL_RECIPE, epochs=1, batch_size=64, optimizer="sgd", momentum=0.0, learning_rate=1e-12, weight_decay=0.5e12,
        schedule="constant", warmup=0.0,
    )  # fmt: skip
    engine = open_engine(small_config(recipe), small_split)
    before = engine.initial_state()
    after, _ = engine.train_epoch(before, 0)
    np.testing.assert_allclose(after["model/dense/kernel"], before["model/dense/kernel"] / 2, rtol=1e-3)
    np.testing.assert_allclose(after["model/block1_conv1_norm/gamma"], 1, rtol=1e-3)


def test_the_ratio_of_rates_is_for_biases_and_normalization_alone(small_split: Split) -> None:
    def after_a_step(**changes: float) -> dict:
        recipe = dataclasses.replace(
            SMALL_RECIPE, batch_size=64, momentum=0.0, weight_decay=0.0, dropout=(0.0,) * 4, **changes
        )
        engine = open_engine(small_config(recipe), small_split)
        before = engine.initial_state()
        after, _ = engine.train_epoch(before, 0)
        return {name: after[name] - before[name] for name in before if name.startswith("model/")}

    still, twice, more = (after_a_step(sgd_ratio=ratio) for ratio in (0.0, 2.0, 6.0))
    moved = {name for name in twice if np.any(twice[name])}
    assert {"model/dense/bias", "model/output/bias", "model/block3_conv3_norm/gamma"} <= moved
    for name in moved:
        if name.endswith(("/kernel", "/moving_mean", "/moving_variance")):
            assert np.array_equal(still[name], more[name])
        else:
            assert not np.any(still[name])
            np.testing.assert_allclose(more[name], 3 * twice[name], rtol=1e-3, atol=1e-6)


def test_muon_takes_the_iterations_that_are_asked_for() -> None:
    matrix = np.diag(np.geomspace(1, 0.01, 8)).astype(np.float32)
    for grouped in (False, True):
        variable = keras.Variable(np.zeros((8, 8), np.float32), name="kernel")
        optimizer = build_optimizer(dataclasses.replace(SMALL_RECIPE, muon_iterations=2), grouped=grouped)
        optimizer.build([variable])
        optimizer.apply([tf.constant(matrix)], [variable])
        expected = -0.02 * np.asarray(orthogonalize(tf.constant(matrix), 2))
        np.testing.assert_allclose(variable, expected, atol=1e-6)
        assert not np.allclose(variable, -0.02 * np.asarray(orthogonalize(tf.constant(matrix))), atol=1e-3)


AVERAGED = dataclasses.replace(SMALL_RECIPE, batch_size=16, averaging_interval=3, averaging_decay=0.9)


@pytest.mark.parametrize("kind", ["ema", "lookahead"])
def test_averaged_weights_are_evaluated_and_resumed_from(small_split: Split, kind: str) -> None:
    config = small_config(dataclasses.replace(AVERAGED, weight_averaging=kind))
    engine = open_engine(config, small_split)
    states = [engine.initial_state()]
    for epoch in range(3):
        states.append(engine.train_epoch(states[-1], epoch)[0])
    averages = {name.removeprefix("average/") for name in states[0] if name.startswith("average/")}
    assert averages == {weight.path for weight in engine.export(states[0]).weights}
    end = states[3]
    kernel = "block2_conv1/kernel"
    # An epoch ends with an update: Lookahead's weights are then the average.
    assert np.array_equal(end[f"average/{kernel}"], end[f"model/{kernel}"]) == (kind == "lookahead")
    # What is evaluated and exported is the average.
    probabilities = engine.evaluate(end, small_split.eval_images)
    plain = engine.export(end)
    assert np.array_equal(plain.get_layer("block2_conv1").kernel, end[f"average/{kernel}"])
    statistic = plain.get_layer("block2_conv1_norm").moving_mean
    assert np.array_equal(statistic, end["average/block2_conv1_norm/moving_mean"])
    np.testing.assert_allclose(plain(small_split.eval_images), probabilities, rtol=1e-3, atol=1e-5)
    # Evaluation leaves no trace, and another engine goes on from the middle bit for bit.
    other = open_engine(config, small_split)
    arrays = {name: np.array(value) for name, value in states[1].items()}
    for epoch in (1, 2):
        arrays, _ = other.train_epoch(arrays, epoch)
        other.evaluate(arrays, small_split.eval_images)
    assert equal(arrays, end)
    # Without averaging, EMA's weights are the same; Lookahead's are not.
    alone = open_engine(small_config(AVERAGED), small_split)
    state = alone.initial_state()
    for epoch in range(3):
        state, _ = alone.train_epoch(state, epoch)
    assert np.array_equal(state[f"model/{kernel}"], end[f"model/{kernel}"]) == (kind == "ema")


@pytest.mark.parametrize("interval", [1, 4])
def test_an_average_is_what_its_schedule_makes_of_the_weights(small_split: Split, interval: int) -> None:
    """Epochs of one step show every weight that is averaged."""
    recipe = dataclasses.replace(AVERAGED, batch_size=64, weight_averaging="ema", averaging_interval=interval)
    engine = open_engine(small_config(recipe), small_split)
    state = engine.initial_state()
    expected = state["model/dense/kernel"]
    for epoch in range(3):
        state, _ = engine.train_epoch(state, epoch)
        keep = np.float32(0.9 * ((epoch + 1) / 3) ** 3)
        expected = keep * expected + (1 - keep) * state["model/dense/kernel"]
    np.testing.assert_allclose(state["average/dense/kernel"], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_training_without_momentum(small_split: Split, optimizer: str) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, momentum=0.0, optimizer=optimizer)
    engine = open_engine(small_config(recipe), small_split)
    _, metrics = engine.train_epoch(engine.initial_state(), 0)
    assert np.isfinite(metrics.loss)


def test_the_mode_of_shifts_reaches_the_images(small_split: Split) -> None:
    ends = []
    for mode in ("reflect", "wrap", "zero"):
        recipe = dataclasses.replace(SMALL_RECIPE, shift=4, shift_mode=mode, batch_size=64)
        engine = open_engine(small_config(recipe), small_split)
        ends.append(engine.train_epoch(engine.initial_state(), 0)[1].loss)
    assert len(set(ends)) == 3
