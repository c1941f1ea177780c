"""The JAX engine: a function of its state, compiled once for all it is told; on the command line like the other."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL_RECIPE, mlflow_runs, small_config
from hypothesis import given
from hypothesis import strategies as st

from harness.common.errors import HarnessError
from harness.config import Network, RunConfig, ShiftMode
from harness.data import Split
from harness.engine import augment
from harness.engine.backend import import_keras, open_engine
from harness.engine.loop import weights_sha256

import_keras("jax")

import keras  # noqa: E402

from harness.engine.jax.arguments import Steps, settings_of, steps_of  # noqa: E402
from harness.engine.jax.batch_norm import FusedBatchNormalization, normalized  # noqa: E402
from harness.engine.jax.engine import JaxEngine  # noqa: E402
from harness.engine.jax.engine import _program as programs  # noqa: E402
from harness.engine.jax.program import Program, Variables, augmented, scaled  # noqa: E402
from harness.engine.layers import FirstMaxPooling2D  # noqa: E402
from harness.engine.network import build, pixel_statistics  # noqa: E402
from harness.engine.optimizers import build_optimizer  # noqa: E402
from harness.engine.state import structure_of  # noqa: E402


def config_of(**changes: object) -> RunConfig:
    names = {field.name for field in dataclasses.fields(Network)}
    network = Network(**{name: changes.pop(name) for name in names & changes.keys()})  # type: ignore[arg-type]
    seed = changes.pop("seed", 0)
    recipe = dataclasses.replace(SMALL_RECIPE, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(small_config(recipe, network, seed), engine="jax")  # type: ignore[arg-type]


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("mode", ["reflect", "wrap", "zero"])
def test_the_program_moves_images_as_numpy_does(small_split: Split, mode: ShiftMode) -> None:
    config = config_of(shift=4)
    steps = steps_of(config, 1, 64)
    plan = augment.epoch_plan(config.recipe, 0, 1, 64)
    padded = augment.padded(small_split.train_images, 4, mode)
    for number in range(4):
        now = Steps(*(values[number] for values in steps))
        expected = augment.batch(padded, plan, slice(16 * number, 16 * number + 16), 4)
        assert np.array_equal(augmented(small_split.train_images, now, 4, mode), expected)


@pytest.mark.parametrize("scaling", ["raw", "unit", "standardised"])
def test_the_program_scales_pixels_as_the_network_does(small_split: Split, scaling: str) -> None:
    config = config_of(input_scaling=scaling)
    pixels = pixel_statistics(small_split.train_images)
    layer = build(config.network, config.recipe, 0, *pixels).get_layer("scaling")
    images = small_split.train_images[:4]
    expected = layer(images.astype(np.float32))
    np.testing.assert_allclose(scaled(images, settings_of(config, pixels)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_max_pooling_is_xlas(dtype: str) -> None:
    rng = np.random.default_rng(0)
    # As a ReLU leaves them: most windows hold the same number twice, many nothing but zeros.
    x = jax.numpy.asarray(np.maximum(rng.normal(size=(3, 16, 8, 32)).round(1), 0), dtype)
    upstream = jax.numpy.asarray(rng.normal(size=(3, 8, 4, 32)), dtype)

    def of_xla(images):
        return jax.lax.reduce_window(images, -jax.numpy.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    seen = []
    for function in (of_xla, FirstMaxPooling2D(dtype=dtype)):
        out, backward = jax.vjp(jax.jit(function), x)
        seen.append([np.asarray(value).tobytes() for value in (out, *backward(upstream))])
    assert seen[0] == seen[1]


def test_batch_norm_is_that_of_keras() -> None:
    """Outputs, gradients and moving statistics; one channel is constant, one far from 0."""
    rng = np.random.default_rng(0)
    inputs = rng.normal([0, 3, -20, 0], [1, 2, 1, 0], (8, 4, 4, 4)).astype(np.float32)
    upstream = rng.normal(size=inputs.shape).astype(np.float32)
    start = [rng.normal(size=4).astype(np.float32) for _ in range(2)]
    seen = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9)
        layer.build(inputs.shape)
        fixed = [variable.value for variable in layer.non_trainable_variables]

        def call(trainable: list, x: object, layer: keras.layers.Layer = layer, fixed: list = fixed) -> tuple:
            return layer.stateless_call(trainable, fixed, x, training=True)

        outputs, backward, moved = jax.vjp(call, [jnp.asarray(v) for v in start], jnp.asarray(inputs), has_aux=True)
        layer.gamma.assign(start[0])
        judged = layer(inputs, training=False)
        seen.append([outputs, *jax.tree.leaves(backward(jnp.asarray(upstream))), *moved, judged])
    for expected, found in zip(*seen, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    half, *_ = normalized(jnp.asarray(inputs, jnp.bfloat16), *map(jnp.asarray, start), 1e-3)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), seen[0][0], atol=0.1)


@pytest.mark.parametrize(("pooling", "kind"), [("max", FirstMaxPooling2D), ("average", keras.layers.AveragePooling2D)])
def test_pooling_is_what_is_asked_for(small_split: Split, pooling: str, kind: type) -> None:
    config = dataclasses.replace(config_of(dropout=(0.0,) * 4), network=Network(pooling=pooling))
    engine = open_engine(config, small_split)
    assert [type(engine._program.model.get_layer(f"block{block}_pool")) for block in (1, 2, 3)] == [kind] * 3
    state, metrics = engine.train_epoch(engine.initial_state(), 0)
    assert np.isfinite(metrics.loss)
    plain = engine.export(state)
    assert type(plain.get_layer("block1_pool")).__module__.startswith("keras.")
    found = engine.evaluate(state, small_split.eval_images)
    np.testing.assert_allclose(plain(small_split.eval_images), found, rtol=1e-3, atol=1e-5)


def test_training_learns_and_its_state_is_all_there_is(small_split: Split) -> None:
    config = config_of()
    engine = open_engine(config, small_split)
    assert isinstance(engine, JaxEngine)
    states, losses, heard = [engine.initial_state()], [], []
    for epoch in range(3):
        state, metrics = engine.train_epoch(states[-1], epoch, heard.append)
        states.append(state)
        losses.append(metrics.loss)
    assert losses[-1] < losses[0]
    assert heard == [1, 2, 3, 4] * 3
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
    np.testing.assert_allclose(plain(small_split.eval_images), probabilities, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(other.evaluate(arrays, small_split.eval_images[:7]), probabilities[:7], atol=1e-6)
    assert weights_sha256(states[3]) != weights_sha256(states[2])
    # Probes look at the state and leave it as it is.
    copy = {name: np.array(value) for name, value in states[3].items()}
    measured = engine.probe(states[2], states[3], 2)
    assert equal(copy, states[3])
    assert measured["gradient_norm/block1_conv1"] > 0


def test_what_a_program_is_told_compiles_nothing_anew(small_split: Split) -> None:
    programs.cache_clear()
    first = open_engine(config_of(), small_split)
    first.train_epoch(first.initial_state(), 0)
    compiled = first._program._one_step._cache_size()
    assert compiled == 1
    settings = (
        {"seed": 1},
        {"dropout": (0.5, 0.0, 0.0, 0.25), "dropout_ramp": False},
        {"input_scaling": "raw"},
        {"input_scaling": "unit", "learning_rate": 0.001, "schedule": "constant"},
        {"weight_decay": 0.0, "label_smoothing": 0.0, "flip": False, "shift": 0},
        {"momentum": 0.5},
        {"sgd_ratio": 8.0},
        {"alternating_flip": True},
        {"final_rate": 0.5},
        {"decay_power": 3.0},
        {"first_layer": "whitened"},
        {"dirac": 0.5},
    )
    ends = []
    for changes in settings:
        engine = open_engine(config_of(**changes), small_split)
        assert engine._program is first._program
        state, metrics = engine.train_epoch(engine.initial_state(), 0)
        assert np.isfinite(metrics.loss)
        ends.append(np.asarray(state["model/dense/kernel"]))
    assert first._program._one_step._cache_size() == compiled
    assert all(not np.array_equal(ends[i], ends[j]) for i in range(len(ends)) for j in range(i))


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adam", "adamw"])
def test_an_optimizer_that_is_told_its_settings_does_as_one_that_has_them(optimizer: str) -> None:
    config = config_of(optimizer=optimizer, momentum=0.7, weight_decay=0.02, learning_rate=0.1, sgd_ratio=3.0)
    program = Program(structure_of(config, dropout_everywhere=True))
    itself = build_optimizer(config.recipe)
    itself.build(program.model.trainable_variables)
    rng = np.random.default_rng(0)
    trainable = [variable.value for variable in program.model.trainable_variables]
    told = own = (trainable, [variable.value for variable in itself.variables])
    settings = settings_of(config, pixel_statistics(np.zeros((1, 32, 32, 3), np.uint8)))
    for _ in range(3):
        gradients = [rng.normal(size=value.shape).astype(np.float32) for value in trainable]
        slots = list(told[1])
        slots[program._rate] = np.float32(config.recipe.learning_rate)
        told = program._updated(told[0], slots, gradients, settings)
        own = itself.stateless_apply(own[1], gradients, own[0])
    for one, other, before in zip(told[0], own[0], trainable, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        assert not np.allclose(one, before, atol=1e-3)


@pytest.mark.parametrize("kind", ["ema", "lookahead"])
def test_averaged_weights_are_evaluated_and_resumed_from(small_split: Split, kind: str) -> None:
    # Epochs of one step show every weight that is averaged.
    config = config_of(weight_averaging=kind, averaging_decay=0.9, batch_size=64)
    engine = open_engine(config, small_split)
    states = [engine.initial_state()]
    for epoch in range(3):
        states.append(engine.train_epoch(states[-1], epoch)[0])
    averages = {name.removeprefix("average/") for name in states[0] if name.startswith("average/")}
    assert averages == {weight.path for weight in engine.export(states[0]).weights}
    expected = states[0]["model/dense/kernel"]
    for epoch, state in enumerate(states[1:]):
        keep = np.float32(0.9 * ((epoch + 1) / 3) ** 3)
        expected = keep * expected + (1 - keep) * np.asarray(state["model/dense/kernel"])
    end = states[3]
    found, weights = (np.asarray(end[f"{place}/dense/kernel"]) for place in ("average", "model"))
    if kind == "ema":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.array_equal(found, weights) == (kind == "lookahead")
    plain = engine.export(end)
    assert np.array_equal(plain.get_layer("dense").kernel, found)
    # The loop of the whole epoch, as on a GPU, is traced: it refuses a state whose types change from step to step.
    program, data = engine._program, (small_split.train_images, small_split.train_labels)
    jax.eval_shape(program._all_steps, program.read(end), data, steps_of(config, 0, 64), engine._settings)
    probabilities = engine.evaluate(end, small_split.eval_images)
    np.testing.assert_allclose(plain(small_split.eval_images), probabilities, rtol=1e-3, atol=1e-5)
    other = open_engine(config, small_split)
    arrays = {name: np.array(value) for name, value in states[1].items()}
    for epoch in (1, 2):
        arrays, _ = other.train_epoch(arrays, epoch)
    assert equal(arrays, end)


def test_muon_takes_the_iterations_that_are_asked_for(small_split: Split) -> None:
    ends = []
    for iterations in (5, 2):
        engine = open_engine(config_of(muon_iterations=iterations, batch_size=64), small_split)
        ends.append(np.asarray(engine.train_epoch(engine.initial_state(), 0)[0]["model/dense/kernel"]))
    assert not np.allclose(*ends, atol=1e-3)


def test_a_run_without_dropout_has_no_dropout_in_its_state(small_split: Split) -> None:
    engine = open_engine(config_of(dropout=(0.0, 0.0, 0.0, 0.0)), small_split)
    assert not any("dropout" in name for name in engine.initial_state())
    partly = open_engine(config_of(dropout=(0.0, 0.0, 0.0, 0.5)), small_split)
    after, _ = partly.train_epoch(partly.initial_state(), 0)
    assert {name.split("/")[1] for name in after if "dropout" in name} == {"dense_dropout", "dense_dropout_seed"}
    seed = "model/dense_dropout_seed/seed_generator_state"
    assert after[seed].tolist() == [partly.initial_state()[seed][0], 4]


def test_a_dropout_of_one_layer_alone_draws_anew_with_every_epoch_and_seed(small_split: Split) -> None:
    # Nothing but the masks sets these apart: the same weights and images, and no step that moves anything.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "batch_size": 64, "flip": False, "shift": 0}
    engine = open_engine(config_of(dropout=(0.0, 0.0, 0.0, 0.5), dropout_ramp=False, **still), small_split)
    first = engine.initial_state()
    later, one = engine.train_epoch(first, 0)
    _, two = engine.train_epoch(later, 1)
    seed = "model/dense_dropout_seed/seed_generator_state"
    _, three = engine.train_epoch({**first, seed: np.array([7, 0], np.uint32)}, 0)
    assert len({one.loss, two.loss, three.loss}) == 3


def test_a_decay_of_weights_spares_biases_and_normalization(small_split: Split) -> None:
    # With a vanishing gradient step, only decay moves anything: lr * decay = 0.5 * 1 halves the kernels.
    config = config_of(
        batch_size=64, optimizer="sgd", momentum=0.0, learning_rate=1e-12, weight_decay=0.5e12, schedule="constant",
        warmup=0.0,
    )  # fmt: skip
    engine = open_engine(config, small_split)
    before = engine.initial_state()
    after, _ = engine.train_epoch(before, 0)
    np.testing.assert_allclose(after["model/dense/kernel"], before["model/dense/kernel"] / 2, rtol=1e-3)
    np.testing.assert_allclose(after["model/block1_conv1_norm/gamma"], 1, rtol=1e-3)


def apart(one: Variables, other: Variables, start: Variables) -> float:
    """The largest distance of a variable from its other value, as a share of how far that is from the start."""
    shares = [0.0]
    for values in zip(*map(jax.tree.leaves, (one, other, start)), strict=True):
        here, there, origin = (np.asarray(value, np.float64) for value in values)
        distance, moved = np.linalg.norm(here - there), np.linalg.norm(there - origin)
        if distance != 0:
            shares.append(distance / moved if moved > 0 else np.inf)
    return float(np.max(shares))


def test_one_program_for_the_epoch_is_its_steps_one_by_one(small_split: Split) -> None:
    """What a GPU runs; here, where a loop of XLA's is slow, on two steps of four images."""
    # Two programs round differently. With a ReLU, whose input may be 0 but for that, one of them lets through what the
    # other does not: in float32 they end apart by per cents on some CPUs, in float64 by nothing. GELU has no such edge.
    config = dataclasses.replace(config_of(batch_size=4), network=Network(activation="gelu"))
    engine = open_engine(config, small_split)
    program, data = engine._program, (small_split.train_images, small_split.train_labels)
    steps = Steps(*(values[:2] for values in steps_of(config, 0, 64)))

    def one_by_one(variables: Variables) -> tuple[Variables, list[float]]:
        losses = []
        for number in range(2):
            given = variables
            now = Steps(*(values[number] for values in steps))
            variables, (loss, _) = program._one_step(given, data, now, engine._settings)
            assert all(array.is_deleted() for array in given.trainable), "the state is donated"
            losses.append(float(loss))
        return variables, losses

    state = engine.initial_state()
    start = program.read(state)
    looped, (losses, _) = program._scan(program.read(state), data, steps, engine._settings)
    stepped, expected = one_by_one(program.read(state))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    # How far rounding leads is measured where the test runs: one more in every number of the state is the yardstick.
    rng = np.random.default_rng(0)
    epsilon = np.finfo(np.float32).eps
    near = {
        name: value * (1 + epsilon * rng.choice([-1, 1], value.shape)).astype(np.float32)
        if value.dtype == np.float32
        else value
        for name, value in state.items()
    }
    rounding = apart(one_by_one(program.read(near))[0], stepped, start)
    assert rounding < 1e-3, "where rounding grows, the loop could do anything"
    assert apart(looped, stepped, start) <= 10 * rounding


def test_bfloat16_computes_in_it_and_keeps_its_weights_in_float32(small_split: Split) -> None:
    config = dataclasses.replace(config_of(batch_size=4), precision="bfloat16")
    engine = open_engine(config, small_split)
    program, data = engine._program, (small_split.train_images, small_split.train_labels)
    steps = steps_of(config, 0, 64)
    before = program.read(engine.initial_state())
    # The loop of the whole epoch is traced, which finds a state whose types change from step to step; a step is run.
    jax.eval_shape(program._all_steps, before, data, steps, engine._settings)
    after, (loss, _) = program._one_step(before, data, Steps(*(v[0] for v in steps)), engine._settings)
    assert np.isfinite(float(loss))
    assert {str(value.dtype) for value in after.trainable} == {"float32"}
    text = str(jax.make_jaxpr(program._step)(before, data, Steps(*(v[0] for v in steps)), engine._settings))
    assert "bf16[4,32,32,32]" in text


def test_too_small_a_memory_is_said_with_the_batch_that_fits(
    small_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(config_of(), small_split)

    def exhausted(*arguments: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 80 GiB")

    state = engine.initial_state()
    program = engine._program
    data = (small_split.train_images, small_split.train_labels)
    taken = {size: program._bytes_taken(size, data, engine._settings) for size in (4, 8)}
    # The outputs of the convolutions, and no less: they grow with the batch.
    convolutions = [layer for layer in program.model.layers if isinstance(layer, keras.layers.Conv2D)]
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in convolutions)
    assert taken[8] - taken[4] > 4 * 4 * outputs
    monkeypatch.setattr(program, "_bytes_taken", lambda size, *rest: taken[size])
    for function in ("_one_step", "_probabilities"):
        monkeypatch.setattr(program, function, exhausted)
    for memory, remedy in ((taken[8], "--set batch_size=8 would fit"), (taken[4] // 2, "no batch would fit")):
        monkeypatch.setattr("harness.engine.jax.engine._memory", lambda memory=memory: memory)
        with pytest.raises(HarnessError, match=f"a batch of 16: {remedy}"):
            engine.train_epoch(state, 0)
    with pytest.raises(HarnessError, match="an evaluation"):
        engine.evaluate(state, small_split.eval_images)


@given(
    fixed=st.integers(0, 10**9), per_image=st.integers(1, 10**7), below=st.integers(2, 10**5),
    memory=st.integers(0, 10**11),
)  # fmt: skip
def test_the_largest_batch_fits_and_twice_as_much_does_not(fixed: int, per_image: int, below: int, memory: int) -> None:
    class Linear:
        def _bytes_taken(self, size: int, *rest: object) -> int:
            return fixed + per_image * size

    size = Program.largest_batch(Linear(), below, None, None, memory)
    assert size < below
    if size:
        assert size & (size - 1) == 0
        assert fixed + per_image * size <= memory
    twice = max(2, 2 * size)
    assert twice >= below or fixed + per_image * twice > memory


def without(tmp_path: Path, *packages: str) -> dict[str, str]:
    """An environment for `python -S` that has all packages but those whose names begin so."""
    site = tmp_path / "site"
    site.mkdir()
    for entry in Path(np.__file__).parents[1].iterdir():
        if not entry.name.startswith(packages):
            (site / entry.name).symlink_to(entry)
    return {"PYTHONPATH": f"{site}:{Path(__file__).parents[2]}"}


def test_cells_are_planned_here_trained_there_and_synced(harness, mlruns: Path, tmp_path: Path) -> None:
    """There: without TensorFlow, MLflow and Optuna."""
    specs, bundles = tmp_path / "specs.json", tmp_path / "bundles"
    words = ("baseline", "--budget", "smoke", "--data", "digits", "--engine", "jax")
    planned = harness("plan", *words, "--out", str(specs))
    assert planned.returncode == 0, planned.stderr
    there = os.environ | without(tmp_path, "tensorflow", "mlflow", "optuna")

    def run(*arguments: str) -> dict:
        command = [sys.executable, "-S", "-m", "harness", "run", *arguments, "--offline", str(bundles), "--json"]
        ran = subprocess.run(command, env=there, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)["runs"][0]

    first = run("--specs", str(specs))
    assert (first["status"], first["trained"]) == ("finished", True)
    # As an experiment the same command finds nothing left to train, and answers.
    assert not run(*words)["trained"]
    # Here, where there is TensorFlow, the bundle is the spec's result, and its model can be used.
    for status in ("imported", "known"):
        synced = harness("sync", str(bundles), "--json", KERAS_BACKEND="tensorflow")
        assert synced.returncode == 0, synced.stderr
        assert [row["status"] for row in json.loads(synced.stdout)["bundles"]] == [status]
    (run_here,) = mlflow_runs(mlruns)
    assert run_here.data.metrics["accuracy"] == first["accuracy"]
    assert run_here.outputs.model_outputs
