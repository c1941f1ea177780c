"""What MLflow has been told of each run: `mlflow.json` in the run folder, and a look whether MLflow still has it."""

import json
from dataclasses import asdict, dataclass

from harness.common import paths
from harness.common.documents import read_json
from harness.common.files import write_atomically
from harness.common.redact import public_url
from harness.runs.folder import RunFolder
from harness.tracking import database
from harness.tracking.mlflow_store import SILENT, explained, is_own_database, is_server, open_mlflow, tracking_uri

#: The name of the database in `mlruns/`, wherever that folder is.
OWN = "mlruns/mlflow.db"

#: The file in `mlruns/` with the port of the UI.
PORT = "ui.port"

#: Runs that a server was seen to have. It is asked once for each.
_seen: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Told:
    """Which MLflow run belongs to a run folder. complete: its end is logged too. seconds: tracking time, if known.

    run_key: of the run folder; empty if an earlier version wrote it.
    """

    run_id: str
    experiment_id: str
    complete: bool
    seconds: float | None = None
    run_key: str = ""


def remember(
    folder: RunFolder, run_id: str, experiment_id: str, *, complete: bool, seconds: float | None = None
) -> None:
    """Write to mlflow.json which MLflow run belongs to a run folder at the current tracking URI.

    complete: whether the run's end is logged too. seconds: the tracking time, or None while it is not known.
    """
    told = _read(folder) | {_place(tracking_uri()): Told(run_id, experiment_id, complete, seconds, folder.config.key)}
    content = json.dumps({place: asdict(each) for place, each in told.items()})
    write_atomically(folder.path / "mlflow.json", content.encode())


def run_id(folder: RunFolder) -> str:
    """Return the MLflow run id of a run folder at the current tracking URI, or "" if there is none yet."""
    known = _here(folder)
    return known.run_id if known else ""


def seconds(folder: RunFolder) -> float | None:
    """Return the tracking time in the process that finished the run, in seconds; None if it has not finished."""
    known = _here(folder)
    return known.seconds if known else None


def run_url(folder: RunFolder) -> str:
    """Return the URL of the run in the MLflow UI, or "" if MLflow has no run of it yet."""
    known = _here(folder)
    return ui_url(known.experiment_id, known.run_id) if known else ""


def ui_url(experiment_id: str, run_id: str) -> str:
    """Return the URL of a run in the MLflow UI: on the server, or on the port where `make ui` serves the database."""
    own = f"http://127.0.0.1:{ui_port()}"
    server = public_url(tracking_uri()).partition("?")[0].rstrip("/") if is_server() else own
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}"


def ui_port() -> int:
    """Return the port where `make ui` was last given to serve the database."""
    try:
        return int((paths.mlruns() / PORT).read_text())
    except (OSError, ValueError):
        return 5000


def remember_ui_port(port: int) -> None:
    """Keep the port, for the links to the UI that are made later."""
    write_atomically(paths.mlruns() / PORT, f"{port}\n".encode())


def is_tracked(folder: RunFolder, *, if_silent: bool = True) -> bool:
    """Whether all of a run, its end included, has been logged to MLflow at the current tracking URI, and is there.

    A run that was deleted in the UI counts as there: somebody wanted it so. One that MLflow does not know at all, after
    `mlflow gc` or a loss of its database, does not. if_silent: what to answer for a server that does not.
    """
    known = _here(folder)
    if known is None or not known.complete:
        return False
    has = _has(known.run_id)
    return if_silent if has is None else has


def _has(run_id: str) -> bool | None:
    """Whether MLflow has a run with its end. None: a server that does not answer.

    Its end is known by the tag `outcome`, which the tracker has always written: an older copy of the database may have
    a run as KILLED that a later process brought to its end.
    """
    if is_own_database():
        with explained():
            return database.has_ended(run_id)
    asked = (tracking_uri(), run_id)
    if asked in _seen:
        return True
    if tracking_uri() in SILENT:
        return None
    try:
        with explained():
            client = open_mlflow().MlflowClient()
        run = client.get_run(run_id)
    # What is no server of MLflow's raises anything: that of its protocol's library, too.
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return False
        SILENT.add(tracking_uri())
        return None
    ended = run.info.status != "RUNNING" and "outcome" in run.data.tags
    if ended or run.info.lifecycle_stage == "deleted":
        _seen.add(asked)
        return True
    return False


def _here(folder: RunFolder) -> Told | None:
    return _read(folder).get(_place(tracking_uri()))


def _read(folder: RunFolder) -> dict[str, Told]:
    try:
        known: dict[str, Told] = read_json(folder.path / "mlflow.json", dict[str, Told])
    # The tracker then searches MLflow for the run by its key.
    except (OSError, ValueError):
        return {}
    # Earlier versions wrote the path of the database, and the password of a server.
    key = folder.config.key
    return {_place(uri): each for uri, each in known.items() if each.run_key in ("", key)}


def _place(uri: str) -> str:
    """Return the name of a tracking URI in mlflow.json, without secrets and without the place of `mlruns/`."""
    own = uri == OWN or is_own_database(uri) or (uri.startswith("sqlite:") and uri.endswith(OWN))
    return OWN if own else public_url(uri)
