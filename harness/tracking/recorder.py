"""Recorders: they keep the record of runs in MLflow, or offline in bundles. A command chooses one recorder."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from harness.analysis.report import RunLink
from harness.engine.loop import Callback
from harness.runs.bundle import Bundle, is_whole
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result
from harness.runs.spec import RunSpec
from harness.tracking.mlflow_run import Tracker, supersede
from harness.tracking.mlflow_store import tracking_uri
from harness.tracking.model import has_model
from harness.tracking.told import is_tracked, run_id, run_url, seconds

#: When a run that was made elsewhere began and ended, in ms since 1970; None for one made now.
Times = tuple[int, int] | None


class RunRecord(Callback, Protocol):
    """The record of one run during its training. A context manager that closes the record however the block ends."""

    def __enter__(self) -> "RunRecord": ...

    def __exit__(self, *exception: Any) -> None: ...

    def timed(self) -> AbstractContextManager[None]:
        """Add the block's duration to the recording time."""

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Record the result of the run.

        model: a `keras.Model` to keep, or None. images: uint8 [N, 32, 32, 3], example inputs for the model.
        """


class Recorder(Protocol):
    """Keeps the record of every run.

    offline: it uses no server or database, so only one process may train. keeps_artifacts: it keeps the figures, the
    probabilities and the model of a run; if it does not, they are not made.
    """

    offline: bool
    keeps_artifacts: bool

    def record(
        self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str, times: Times = None
    ) -> RunRecord:
        """Return the record of a run that is about to be trained, or has ended. data_source: where its images were."""

    def is_complete(self, folder: RunFolder) -> bool:
        """Whether a run is completely recorded, its end included."""

    def has_model(self, folder: RunFolder) -> bool:
        """Whether the record of a run has its model, if this recorder keeps models."""

    def supersede(self, folder: RunFolder) -> None:
        """Mark the record of a run as superseded: the run is trained again."""

    def link(self, folder: RunFolder) -> RunLink:
        """Return the link to the record of a run."""


class BundleRecorder:
    """Writes bundles, which `harness sync` imports on a machine with MLflow.

    A machine that is rented by the minute draws no figures: the import makes figures and model from the bundle. The
    probabilities are not kept, as they are most of a bundle without its checkpoint: only the pictures of a run's most
    confident mistakes need them.
    """

    offline = True
    keeps_artifacts = False

    def record(
        self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str, times: Times = None
    ) -> RunRecord:
        return Bundle(folder, spec, tags, data_source)

    def is_complete(self, folder: RunFolder) -> bool:
        return is_whole(folder)

    def has_model(self, folder: RunFolder) -> bool:
        return True

    def supersede(self, folder: RunFolder) -> None:
        """Do nothing: the seal is deleted with the other files of the run folder."""

    def link(self, folder: RunFolder) -> RunLink:
        return RunLink()


class MlflowRecorder:
    """Logs runs to MLflow: to the database in mlruns/ or to a server. Raises BadInput for an URI that cannot be one."""

    offline = False
    keeps_artifacts = True

    def __init__(self) -> None:
        # Before data and engine are loaded, and not when the run begins.
        tracking_uri()

    def record(
        self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str, times: Times = None
    ) -> RunRecord:
        return Tracker(folder, spec.label, tags, data_source, times, spec.command)

    def is_complete(self, folder: RunFolder) -> bool:
        return is_tracked(folder)

    def has_model(self, folder: RunFolder) -> bool:
        return has_model(folder)

    def supersede(self, folder: RunFolder) -> None:
        supersede(folder)

    def link(self, folder: RunFolder) -> RunLink:
        return RunLink(run_id(folder), run_url(folder), seconds(folder))
