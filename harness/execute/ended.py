"""Runs that have ended, here or on another machine: take a bundle in, and record a run from its files.

Nothing is computed again: the result is read, the figures are drawn, and the model is made from the checkpoint.
"""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.common.errors import BadInput, first_line
from harness.common.files import atomic
from harness.common.lazy import lazy_import
from harness.data import Dataset
from harness.engine.backend import ENGINES, import_keras
from harness.engine.loop import weights_sha256
from harness.plan import images_of
from harness.runs.bundle import Sealed, is_sealed, read_bundle
from harness.runs.checkpoint import read_checkpoint
from harness.runs.folder import CHECKPOINT, RESULT, RunFolder
from harness.runs.records import History, Result
from harness.runs.spec import RunSpec
from harness.source_hash import measures_hash
from harness.tracking import supersede
from harness.tracking.provenance import provenance
from harness.tracking.recorder import Recorder

if TYPE_CHECKING:
    from harness.engine import pixels
    from harness.engine import state as engine_state
else:
    # Both import Keras.
    pixels = lazy_import("harness.engine.pixels")
    engine_state = lazy_import("harness.engine.state")

#: Draws the figures of a run into the run folder: (folder, name, result, history).
Draw = Callable[[RunFolder, str, Result, History], None]


def trained_model(path: Path, spec: RunSpec, result: Result, dataset: Dataset) -> Any:
    """Return the `keras.Model` of a run that has ended, or None if it is not to be kept or cannot be made.

    path: the run folder or bundle. Without a checkpoint, or without Keras, there is no model. Raises BadInput if the
    checkpoint is damaged or holds another network.
    """
    config, file = spec.config, path / CHECKPOINT
    if not file.exists():
        return None
    # Any engine can load the weights: all engines use the same names.
    engine = next((name for name in (config.engine, *ENGINES) if find_spec(name)), None)
    try:
        state, _ = read_checkpoint(file, config.key)
        if result.status != "finished":
            return None
        # Other code may hash the same arrays in another way.
        comparable = result.measured_by == measures_hash(config.engine)
        if comparable and weights_sha256(state) != result.weights_sha256:
            raise ValueError("its weights are not those of the result")
        if not spec.keeps_model or engine is None:
            return None
        import_keras(engine, config.recipe.threads)
        return engine_state.export(config, pixels.pixels_of(images_of(config, dataset)), state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} does not hold what was trained ({first_line(error)}): put a good copy of it back, or delete it "
            f"and do without the model."
        ) from error


def take_in(sealed: Sealed, folder: RunFolder, draw: Draw) -> None:
    """Copy a bundle's files into a run folder, and draw its figures if it keeps them. The caller holds the lock.

    result.json is copied last, so an import that was killed half-way does not count as a finished run. Raises BadInput
    if the figures cannot be drawn; nothing of the bundle then stays.
    """
    if (folder.path / "mlflow.json").exists():
        # The run was started on this machine too and not finished: its MLflow run records another training.
        supersede(folder)
    folder.clear()
    for name in sealed.files:
        if name != RESULT:
            copy_file(sealed, folder, name)
    # Bundles of earlier versions bring their figures, and the seal names them: they are left as they are.
    if sealed.spec.keeps_model and not any(name.endswith(".png") for name in sealed.files):
        try:
            draw(folder, sealed.spec.name, sealed.result, sealed.history)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, StopIteration) as error:
            folder.clear()
            raise BadInput(f"{sealed.path} has numbers that cannot be drawn ({first_line(error)}).") from error
    folder.seal((sealed.path / RESULT).read_bytes())
    # result.json marks the run as finished. bundle.json beside it says that the run was made elsewhere.
    for name in ("bundle.json", RESULT):
        copy_file(sealed, folder, name)


def copy_file(sealed: Sealed, folder: RunFolder, name: str) -> None:
    """Copy a file of a bundle into a run folder, atomically."""
    with open(sealed.path / name, "rb") as theirs, atomic(folder.path / name) as ours:
        shutil.copyfileobj(theirs, ours)


def record_ended(
    folder: RunFolder, spec: RunSpec, recorder: Recorder, dataset: Dataset, draw: Draw, model: Any
) -> None:
    """Record a run that has ended, from its files. model: as `trained_model` returns it. The caller holds the lock.

    A run that came in a bundle keeps its own start and end times. If an earlier call was killed, its record is
    completed.
    """
    result, history = folder.result(), folder.history()
    assert result
    if spec.keeps_model and recorder.keeps_artifacts and not any(folder.artifacts.glob("[!.]*.png")):
        draw(folder, spec.name, result, history)
        folder.seal((folder.path / RESULT).read_bytes())
    environment, times = folder.environment(), None
    # Runs of the first versions have no environment.
    tags, source = (environment.tags, environment.source) if environment else (provenance() | spec.tags, dataset.source)
    if is_sealed(folder) and not recorder.offline:
        sealed = read_bundle(folder.path)
        times = sealed.begun, sealed.ended
    with recorder.record(folder, spec, tags, source, times) as record:
        record.started(history)
        record.finish(result, history, model, images_of(spec.config, dataset).eval_images)
