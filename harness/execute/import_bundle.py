"""A bundle made elsewhere as a run of this machine: its files, and what MLflow is told of it."""

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.common.files import atomic
from harness.common.lazy import lazy_import
from harness.data import Dataset
from harness.engine.backend import ENGINES, import_keras
from harness.plan import images_of
from harness.runs.bundle import CHECKPOINT, Sealed
from harness.runs.folder import RunFolder
from harness.tracking import Tracker, supersede

if TYPE_CHECKING:
    from harness.engine import network
    from harness.engine import state as engine_state
else:
    # Both import Keras.
    network = lazy_import("harness.engine.network")
    engine_state = lazy_import("harness.engine.state")


def take_in(sealed: Sealed, folder: RunFolder) -> None:
    """Copy a bundle's files into a run folder whose lock is held; a kill leaves no run that is over and not whole."""
    if (folder.path / "mlflow.json").exists():
        # Begun here as well and not finished: that record is of another training.
        supersede(folder)
    folder.clear()
    # The result last: with it the run is over here, and the seal beside it says that it was made elsewhere.
    last = ["bundle.json", "result.json"]
    for name in [*(name for name in sealed.files if name not in last), *last]:
        with open(sealed.path / name, "rb") as theirs, atomic(folder.path / name) as ours:
            shutil.copyfileobj(theirs, ours)


def tell_mlflow(sealed: Sealed, folder: RunFolder, dataset: Dataset) -> None:
    """Make the MLflow run of a bundle, with its own times; or go on with one that was left half made."""
    images = images_of(sealed.spec.config, dataset).eval_images
    times = (sealed.begun, sealed.ended)
    with Tracker(folder, sealed.spec.name, sealed.tags, sealed.source, times) as tracker:
        tracker.started(sealed.history)
        tracker.finish(sealed.result, sealed.history, _model(sealed, dataset), images)


def _model(sealed: Sealed, dataset: Dataset) -> Any:
    """The trained network, where it is one to keep, its weights came along and Keras can be had; else None."""
    config = sealed.spec.config
    wanted = sealed.spec.keeps_model and sealed.result.status == "finished" and CHECKPOINT in sealed.files
    # Any engine will do: they name their weights alike.
    engine = next((name for name in (config.engine, *ENGINES) if find_spec(name)), None)
    if not wanted or engine is None:
        return None
    import_keras(engine)
    with np.load(sealed.path / CHECKPOINT) as state:
        return engine_state.export(config, network.pixel_statistics(images_of(config, dataset).train_images), state)
