"""What TensorFlow would compile on a GPU can be compiled: every step that an experiment or a search may ask for.

There is no GPU here, but XLA refuses what it cannot do deterministically before it comes to a device.
"""

import dataclasses

import numpy as np
import pytest
from conftest import small_config

from harness import experiment
from harness.config import Network, Recipe, change
from harness.data import Split
from harness.engine.backend import import_keras
from harness.recipes import FAST, RECIPES

import_keras("tensorflow")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from harness.engine.layers import FirstMaxPooling2D  # noqa: E402
from harness.engine.state import Structure, structure_of  # noqa: E402
from harness.engine.tensorflow.program import Program, settings_of  # noqa: E402

PIXELS = ((125.0,) * 3, (60.0,) * 3)
BATCH = 2


def asked_for() -> dict[Structure, str]:
    """The structures of all experiments, recipes and optimizers, and of both poolings and precisions; each once."""
    wanted: dict[str, tuple[Network, Recipe]] = dict(RECIPES)
    for name in experiment.names():
        for variant, changes in experiment.load(name).all_variants.items():
            wanted[f"{name} {variant}"] = change(Network(), FAST, changes)
    for optimizer in ("muon", "sgd", "adam", "adamw"):
        wanted[optimizer] = (Network(), dataclasses.replace(FAST, optimizer=optimizer))
    for averaging in ("ema", "lookahead"):
        wanted[averaging] = (Network(), dataclasses.replace(FAST, weight_averaging=averaging))
    wanted["average pooling"] = (Network(pooling="average"), FAST)
    found: dict[Structure, str] = {}
    for name, (network, recipe) in wanted.items():
        found.setdefault(structure_of(small_config(recipe, network)), name)
    mixed = dataclasses.replace(small_config(FAST), precision="bfloat16")
    return found | {structure_of(mixed): "bfloat16"}


STRUCTURES = asked_for()


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.tensorflow.program.on_gpu", lambda: True)
    # TensorFlow draws a number to find out which device it would compile for.
    tf.random.set_seed(0)


def given() -> tuple:
    images, labels = np.zeros((BATCH, 32, 32, 3), np.uint8), np.zeros(BATCH, np.int32)
    settings = settings_of(small_config(FAST), PIXELS)
    rest = tf.constant(0.1), tf.zeros(4)
    return tf.constant(images), tf.constant(labels), *rest, settings


@pytest.mark.usefixtures("as_on_gpu")
@pytest.mark.parametrize("structure", STRUCTURES, ids=list(STRUCTURES.values()))
def test_the_step_is_one_that_xla_takes(structure: Structure, small_split: Split) -> None:
    program = Program(structure)
    program.initial_state(small_config(structure.recipe, structure.network), small_split)
    pools = [layer for layer in program.model.layers if layer.name.endswith("_pool")]
    kind = FirstMaxPooling2D if structure.network.pooling == "max" else keras.layers.AveragePooling2D
    assert [type(layer) for layer in pools] == [kind] * 3
    tf.random.set_seed(0)
    images, *_, settings = arguments = given()
    program._set_precision()
    steps = [(program._train_step, arguments), (program._predict_step, (images, settings))]
    if structure.recipe.weight_averaging != "off":
        steps.append((program._average_step, (tf.constant(0.5),)))
    for function, values in steps:
        lowered = function.experimental_get_compiler_ir(*values)(stage="hlo", platform_name="CPU")
        assert lowered.startswith("HloModule")


@pytest.mark.usefixtures("as_on_gpu")
def test_keras_max_pooling_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or there would be no need for one of our own, and the test above would show nothing."""
    monkeypatch.setattr("harness.engine.tensorflow.program.FirstMaxPooling2D", keras.layers.MaxPooling2D)
    program = Program(structure_of(small_config(FAST)))
    with pytest.raises(ValueError, match="do not yet have a deterministic XLA implementation"):
        program._train_step.experimental_get_compiler_ir(*given())(stage="hlo", platform_name="CPU")


@pytest.mark.slow
def test_what_is_compiled_for_a_gpu_does_as_what_is_compiled_for_a_cpu(
    monkeypatch: pytest.MonkeyPatch, small_split: Split
) -> None:
    """Here both run on the CPU. A smooth activation: rounding opens and closes ReLUs."""
    config = small_config(FAST, Network(activation="gelu"))
    settings = settings_of(config, PIXELS)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8))
    labels = tf.constant(np.arange(16, dtype=np.int32) % 10)
    states, losses, probabilities = [], [], []
    for is_gpu in (False, True):
        monkeypatch.setattr("harness.engine.tensorflow.program.on_gpu", lambda is_gpu=is_gpu: is_gpu)
        program = Program(structure_of(config))
        first = program.initial_state(config, small_split)
        for name, variable in program.variables.items():
            variable.assign(first[name])
        program._set_precision()
        steps = [program._train_step(images, labels, tf.constant(0.001), tf.zeros(4), settings) for _ in range(2)]
        losses.append([float(loss) for loss, _ in steps])
        probabilities.append(program._predict_step(images, settings).numpy())
        states.append({name: variable.numpy().astype(np.float64) for name, variable in program.variables.items()})
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(probabilities[1], probabilities[0], atol=1e-5)
    for name, value in states[0].items():
        moved = np.linalg.norm(value - first[name])
        assert np.linalg.norm(states[1][name] - value) <= 1e-3 * moved, name
