"""What a run folder remembers of MLflow, for each tracking URI: its run there, and whether that knows all."""

import json
from typing import Any

from harness.runs import RunFolder, write_atomically
from harness.tracking.store import tracking_uri


def _read(folder: RunFolder) -> dict[str, Any]:
    file = folder.path / "mlflow.json"
    return json.loads(file.read_text()) if file.exists() else {}


def remember(folder: RunFolder, run_id: str, experiment_id: str, *, complete: bool) -> None:
    """Keep the MLflow run of a folder at the present tracking URI."""
    here = {"run_id": run_id, "experiment_id": experiment_id, "complete": complete}
    write_atomically(folder.path / "mlflow.json", json.dumps(_read(folder) | {tracking_uri(): here}).encode())


def run_id(folder: RunFolder) -> str:
    """The MLflow run of a run folder at the present tracking URI; empty when there is none yet."""
    return _read(folder).get(tracking_uri(), {}).get("run_id", "")


def run_url(folder: RunFolder) -> str:
    """Where the MLflow UI shows the run; empty before it has one."""
    known = _read(folder).get(tracking_uri(), {})
    if not known:
        return ""
    server = tracking_uri() if tracking_uri().startswith("http") else "http://127.0.0.1:5000"
    return f"{server}/#/experiments/{known['experiment_id']}/runs/{known['run_id']}"


def is_tracked(folder: RunFolder) -> bool:
    """Whether MLflow at the present tracking URI has been told all of a run, its end included."""
    return _read(folder).get(tracking_uri(), {}).get("complete", False)
