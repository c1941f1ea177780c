"""The TensorFlow side of test_agreement.py: trains from a state that JAX wrote, and writes down what came of it."""

import sys
from pathlib import Path

import numpy as np
from agreement import CONFIG, STEPS, WITH_DROPOUT, images

from harness.data import Split
from harness.engine.backend import import_keras, open_engine


def main(folder: Path) -> None:
    import_keras("tensorflow")
    from harness.engine.network import pixel_statistics
    from harness.engine.probes import Probes, scaled
    from harness.engine.tensorflow.probe_passes import TensorFlowPasses

    split: Split = images()
    engine = open_engine(CONFIG, split)
    with np.load(folder / "jax.npz") as file:
        state = dict(file)
    assert state.keys() == engine.initial_state().keys()
    inputs = scaled(split.train_images[:16], CONFIG.network, pixel_statistics(split.train_images))
    labels = split.train_labels[:16]
    probes = Probes(TensorFlowPasses(CONFIG.network), CONFIG.recipe.label_smoothing, inputs, labels, np.arange(16))
    gradients = list(probes._gradients(probes._weights(state)).values())
    losses = []
    for epoch in range(STEPS):
        if epoch == STEPS - 1:
            np.savez(folder / "tensorflow.npz", **state)
            probabilities = engine.evaluate(state, split.eval_images)
        state, metrics = engine.train_epoch(state, epoch)
        losses.append(metrics.loss)
    np.savez(
        folder / "seen.npz",
        losses=losses,
        probabilities=probabilities,
        **{f"gradient {i}": np.asarray(gradient) for i, gradient in enumerate(gradients)},
    )
    # And one epoch of a run whose dropout draws, in some layers.
    dropping = open_engine(WITH_DROPOUT, split)
    state, _ = dropping.train_epoch(dropping.initial_state(), 0)
    np.savez(folder / "dropout.npz", **state)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
