"""Who keeps the record of runs: MLflow, or where there is none, bundles. A command chooses one, once."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from harness.analysis.report import RunLink
from harness.engine.loop import Callback
from harness.runs.bundle import Bundle, is_sealed
from harness.runs.folder import History, Result, RunFolder
from harness.runs.spec import RunSpec
from harness.tracking.mlflow_run import Tracker, supersede
from harness.tracking.mlflow_store import is_tracked, run_id, run_url, seconds


class RunRecord(Callback, Protocol):
    """The record of one run while it trains; as a context it is closed however the block ends."""

    def __enter__(self) -> "RunRecord": ...

    def __exit__(self, *exception: Any) -> None: ...

    def timed(self) -> AbstractContextManager[None]:
        """Count the block's time as recording."""

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Record how the run ended.

        model: a `keras.Model` to keep, or None; images: uint8 [N, 32, 32, 3], some inputs of it.
        """


class Recorder(Protocol):
    """Keeps the record of every run. `offline`: it speaks to no server, so only one process may train."""

    offline: bool

    def record(self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str) -> RunRecord:
        """The record of a run that is about to be trained. data_source: where its images were found."""

    def is_complete(self, folder: RunFolder) -> bool:
        """Whether all of a run is recorded, its end included."""

    def supersede(self, folder: RunFolder) -> None:
        """Mark what is recorded of a run as superseded: another one is trained in its place."""

    def link(self, folder: RunFolder) -> RunLink:
        """Where the record of a run is."""


class BundleRecorder:
    """Writes bundles, for `harness sync` to import where there is MLflow."""

    offline = True

    def record(self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str) -> RunRecord:
        return Bundle(folder, spec, tags, data_source)

    def is_complete(self, folder: RunFolder) -> bool:
        return is_sealed(folder)

    def supersede(self, folder: RunFolder) -> None:
        """The seal goes with the rest of the folder."""

    def link(self, folder: RunFolder) -> RunLink:
        return RunLink()


class MlflowRecorder:
    """Tells MLflow, the database in mlruns/ or a server."""

    offline = False

    def record(self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], data_source: str) -> RunRecord:
        return Tracker(folder, spec.name, tags, data_source)

    def is_complete(self, folder: RunFolder) -> bool:
        return is_tracked(folder)

    def supersede(self, folder: RunFolder) -> None:
        supersede(folder)

    def link(self, folder: RunFolder) -> RunLink:
        return RunLink(run_id(folder), run_url(folder), seconds(folder))
