"""From the same weights, without what is random, the two engines do the same; and each reads the other's states.

With $RECORDED, a folder, what TensorFlow does is read from there, and written there if it is not there yet: a machine
with a GPU and without TensorFlow is held against what was recorded elsewhere (experiments/gpu.sh).
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agreement import CONFIG, STEPS, WITH_DROPOUT, images

from harness.engine.backend import import_keras, open_engine

import_keras("jax")

from harness.engine.jax.probe_passes import JaxPasses  # noqa: E402
from harness.engine.network import pixel_statistics  # noqa: E402
from harness.engine.probes import Probes, scaled  # noqa: E402


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory):
    """What TensorFlow made of JAX's first state, what JAX made of it, and the folder of the states."""
    folder = Path(os.environ.get("RECORDED") or tmp_path_factory.mktemp("states"))
    engine = open_engine(dataclasses.replace(CONFIG, engine="jax"), images())
    if not (folder / "dropout.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "jax.npz", **engine.initial_state())
        here = Path(__file__).parent
        paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run([sys.executable, str(here / "with_tensorflow.py"), str(folder)], env=environment, check=True)
    with np.load(folder / "jax.npz") as file:
        first = dict(file)
    state, losses = first, []
    for epoch in range(STEPS):
        state, metrics = engine.train_epoch(state, epoch)
        losses.append(metrics.loss)
    with np.load(folder / "seen.npz") as file:
        return dict(file), engine, first, losses, folder


def test_fifty_losses_agree(seen) -> None:
    theirs, _, _, losses, _ = seen
    assert losses[-1] < losses[0] - 0.3, "an example in which nothing is learned shows nothing"
    # Rounding grows from step to step: the last bit of every weight moves a loss by 0.002 %. A learning rate off
    # by 1 % moves one by 0.7 %, and the limit lies between these.
    np.testing.assert_allclose(losses, theirs["losses"], rtol=5e-4)


def test_the_gradients_of_every_layer_agree(seen) -> None:
    theirs, _, first, *_ = seen
    split = images()
    inputs = scaled(split.train_images[:16], CONFIG.network, pixel_statistics(split.train_images))
    labels = split.train_labels[:16]
    probes = Probes(JaxPasses(CONFIG.network), CONFIG.recipe.label_smoothing, inputs, labels, np.arange(16))
    gradients = list(probes._gradients(probes._weights(first)).values())
    assert len(gradients) == 11
    for i, gradient in enumerate(gradients):
        expected = theirs[f"gradient {i}"]
        assert np.linalg.norm(gradient - expected) < 1e-3 * np.linalg.norm(expected)


def test_a_state_that_tensorflow_wrote_is_evaluated_and_gone_on_with(seen) -> None:
    theirs, engine, first, _, folder = seen
    with np.load(folder / "tensorflow.npz") as file:
        state = dict(file)
    assert state.keys() == first.keys()
    np.testing.assert_allclose(engine.evaluate(state, images().eval_images), theirs["probabilities"], atol=1e-4)
    _, metrics = engine.train_epoch(state, STEPS - 1)
    assert metrics.loss == pytest.approx(theirs["losses"][-1], rel=1e-4)


def test_a_state_with_dropout_is_gone_on_with(seen) -> None:
    *_, folder = seen
    with np.load(folder / "dropout.npz") as file:
        state = dict(file)
    engine = open_engine(dataclasses.replace(WITH_DROPOUT, engine="jax"), images())
    first = engine.initial_state()
    assert state.keys() == first.keys()
    after, metrics = engine.train_epoch(state, 1)
    assert np.isfinite(metrics.loss)
    for layer in ("block2_dropout", "dense_dropout"):
        name = f"model/{layer}_seed/seed_generator_state"
        # The seed is the run's in both engines, and each has drawn once more.
        assert state[name].tolist() == [first[name][0], 1]
        assert after[name].tolist() == [first[name][0], 2]
    assert [int(value) for name, value in after.items() if name.endswith("iteration")] == [2]
