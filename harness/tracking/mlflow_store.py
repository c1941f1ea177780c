"""Where MLflow keeps its data: the database in `mlruns/`, or the server of `$MLFLOW_TRACKING_URI`."""

import contextlib
import importlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from harness import published
from harness.common import paths
from harness.common.errors import HarnessError, first_line
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.signals import deferred
from harness.runs.folder import RunFolder

entities = lazy_import("mlflow.entities")
sqlalchemy_store = lazy_import("mlflow.store.tracking.sqlalchemy_store")


def _database() -> Path:
    return paths.mlruns() / "mlflow.db"


def tracking_uri() -> str:
    """`$MLFLOW_TRACKING_URI`, or the database in `mlruns/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_database()}"


def is_server() -> bool:
    """Whether `$MLFLOW_TRACKING_URI` is a server."""
    return tracking_uri().startswith("http")


def import_mlflow() -> Any:
    """The mlflow module, and what it will need of it: seconds, the first time."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # On a server, MLflow would print the run's address to stdout, which belongs to the report.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A server that does not answer is an error after seconds, not after MLflow's default of many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    mlflow = importlib.import_module("mlflow")
    if not is_server():
        # MLflow would import it when the database is opened.
        importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def open_mlflow() -> Any:
    """The mlflow module, pointed at a database that exists."""
    mlflow = import_mlflow()
    if has_no_database():
        _create_database(_database())
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def has_no_database() -> bool:
    """Whether MLflow's data are to be in `mlruns/`, and nothing is there yet, or no more."""
    return tracking_uri() == f"sqlite:///{_database()}" and not _database().exists()


def _create_database(path: Path) -> None:
    """Create the database once, whole: processes that open a missing one together all fail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            sqlalchemy_store.SqlAlchemyStore(f"sqlite:///{new}", str(path.parent / "artifacts"))
            # Where there was another one, this one knows nothing of what that was told.
            for memory in path.parent.glob("runs/*/mlflow.json"):
                memory.unlink()
            os.replace(new, path)


def ui_url(experiment_id: str, run_id: str) -> str:
    """Where the MLflow UI shows a run: on the server, or where `make ui` serves the database."""
    server = tracking_uri() if is_server() else "http://127.0.0.1:5000"
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a failure of MLflow's store into a HarnessError that says what is safe and what to do. Signals wait."""
    try:
        with deferred():
            yield
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(
            f"MLflow at {tracking_uri()} did not answer as it should ({first_line(error)}). Every finished epoch is "
            f"safe in {paths.mlruns() / 'runs'}; see that nothing else holds the database, that its disk has room, or "
            f"that the server answers, and give the same command again (without --fresh): MLflow is then brought up "
            f"to date. A database in mlruns/ that is damaged may be deleted; the same command makes another."
        ) from error


def choose_experiment(mlflow: Any, data: str) -> str:
    """Make the MLflow experiment of a data set the present one and return its id.

    One experiment per data set: the comparison view then cannot mix them. On CIFAR-10 it holds the published
    curve too, as a run called `published`, to lay over the others.
    """
    # One process at a time: two that create the same experiment, or the same run in it, would clash.
    with filelock.FileLock(paths.mlruns() / "experiment.lock"):
        known = mlflow.get_experiment_by_name(data)
        if known is None:
            # A server knows where; without one, MLflow would take the folder that the command was given in.
            location = None if is_server() else str(paths.mlruns() / "artifacts" / data)
            mlflow.create_experiment(data, artifact_location=location)
        elif known.lifecycle_stage == "deleted":
            raise HarnessError(
                f"The MLflow experiment {data} was deleted. Bring it back with `mlflow experiments restore "
                f"--experiment-id {known.experiment_id}`, or make it go with `mlflow gc` (MLFLOW_TRACKING_URI="
                f"{tracking_uri()})."
            )
        experiment_id = mlflow.set_experiment(data).experiment_id
        if published.comparable(data):
            _import_published(mlflow, experiment_id)
    return experiment_id


def _import_published(mlflow: Any, experiment_id: str) -> None:
    client = mlflow.MlflowClient()
    known = client.search_runs([experiment_id], "tags.variant = 'published'")
    if any(run.info.status == "FINISHED" for run in known):
        return
    tags = {"variant": "published", "source": "read off the notebook's figures: ±0.002 accuracy, ±0.01 loss"}
    # One that a kill left half imported is gone on with: the same metric at the same time counts once.
    run = known[0] if known else client.create_run(experiment_id, run_name="published", tags=tags)
    metrics = [
        entities.Metric(str(name), float(value), 0, int(row["epoch"]))
        for _, row in published.curve().iterrows()
        for name, value in row.items()
        if name != "epoch" and value == value
    ]
    for name, value in {"accuracy": "test_accuracy", "cross_entropy": "test_loss"}.items():
        metrics.append(entities.Metric(name, published.final()[value], 0, 0))
    for start in range(0, len(metrics), 1000):  # as many as one request may carry
        client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
    client.set_terminated(run.info.run_id)


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
