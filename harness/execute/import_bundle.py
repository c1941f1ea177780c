"""Import a bundle from another machine: copy its files into a run folder, draw its figures, log it to MLflow."""

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.common.files import atomic
from harness.common.lazy import lazy_import
from harness.data import Dataset
from harness.engine.backend import ENGINES, import_keras
from harness.execute.artifacts import Draw
from harness.plan import images_of
from harness.runs.bundle import CHECKPOINT, Sealed
from harness.runs.folder import RunFolder
from harness.tracking import Tracker, supersede

if TYPE_CHECKING:
    from harness.engine import pixels
    from harness.engine import state as engine_state
else:
    # Both import Keras.
    pixels = lazy_import("harness.engine.pixels")
    engine_state = lazy_import("harness.engine.state")


def take_in(sealed: Sealed, folder: RunFolder) -> None:
    """Copy a bundle's files into a run folder. The caller holds the folder's lock.

    result.json is copied last, so an import that was killed half-way does not count as a finished run.
    """
    if (folder.path / "mlflow.json").exists():
        # The run was started on this machine too and not finished: its MLflow run records another training.
        supersede(folder)
    folder.clear()
    # result.json marks the run as finished. bundle.json beside it says that the run was made elsewhere.
    last = ["bundle.json", "result.json"]
    for name in [*(name for name in sealed.files if name not in last), *last]:
        with open(sealed.path / name, "rb") as theirs, atomic(folder.path / name) as ours:
            shutil.copyfileobj(theirs, ours)


def tell_mlflow(sealed: Sealed, folder: RunFolder, dataset: Dataset, draw: Draw) -> None:
    """Log a bundle to MLflow with its own start and end times, with its figures and its model if it keeps them.

    If an earlier import was killed, its MLflow run is completed.
    """
    # Bundles of earlier versions bring their figures, and the seal names them: they are left as they are.
    if sealed.spec.keeps_model and not any(name.endswith(".png") for name in sealed.files):
        draw(folder, sealed.spec.name, sealed.result, sealed.history)
    images = images_of(sealed.spec.config, dataset).eval_images
    times = (sealed.begun, sealed.ended)
    with Tracker(folder, sealed.spec.name, sealed.tags, sealed.source, times) as tracker:
        tracker.started(sealed.history)
        tracker.finish(sealed.result, sealed.history, _model(sealed, dataset), images)


def _model(sealed: Sealed, dataset: Dataset) -> Any:
    """Return the trained `keras.Model`, or None if it is not to be kept, its checkpoint or Keras is missing."""
    config = sealed.spec.config
    wanted = sealed.spec.keeps_model and sealed.result.status == "finished" and CHECKPOINT in sealed.files
    # Any engine can load the weights: all engines use the same names.
    engine = next((name for name in (config.engine, *ENGINES) if find_spec(name)), None)
    if not wanted or engine is None:
        return None
    import_keras(engine)
    with np.load(sealed.path / CHECKPOINT) as state:
        return engine_state.export(config, pixels.pixels_of(images_of(config, dataset)), state)
