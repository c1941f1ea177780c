"""What a run folder remembers of MLflow, for each tracking URI: its run there, and whether that knows all."""

import json
from typing import Any

from harness.common.files import write_atomically
from harness.runs.folder import RunFolder
from harness.tracking.mlflow_store import has_no_database, tracking_uri, ui_url


def _read(folder: RunFolder) -> dict[str, Any]:
    try:
        known = json.loads((folder.path / "mlflow.json").read_text())
    # MLflow is asked again, then, and finds the run by its key.
    except (FileNotFoundError, ValueError):
        return {}
    if has_no_database():
        known.pop(tracking_uri(), None)
    return known


def remember(
    folder: RunFolder, run_id: str, experiment_id: str, *, complete: bool, seconds: float | None = None
) -> None:
    """Keep the MLflow run of a folder at the present tracking URI, and how long the tracking took."""
    here = {"run_id": run_id, "experiment_id": experiment_id, "complete": complete, "seconds": seconds}
    write_atomically(folder.path / "mlflow.json", json.dumps(_read(folder) | {tracking_uri(): here}).encode())


def run_id(folder: RunFolder) -> str:
    """The MLflow run of a run folder at the present tracking URI; empty when there is none yet."""
    return _read(folder).get(tracking_uri(), {}).get("run_id", "")


def seconds(folder: RunFolder) -> float | None:
    """How long the tracking of the run took, in the process that ended it; None while it has not ended."""
    return _read(folder).get(tracking_uri(), {}).get("seconds")


def run_url(folder: RunFolder) -> str:
    """Where the MLflow UI shows the run; empty before it has one."""
    known = _read(folder).get(tracking_uri(), {})
    return ui_url(known["experiment_id"], known["run_id"]) if known else ""


def is_tracked(folder: RunFolder) -> bool:
    """Whether MLflow at the present tracking URI has been told all of a run, its end included."""
    return _read(folder).get(tracking_uri(), {}).get("complete", False)
