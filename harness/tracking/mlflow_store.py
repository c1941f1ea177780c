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
    """Return `$MLFLOW_TRACKING_URI`, or the URI of the database in `mlruns/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or paths.sqlite_url(_database())


def is_server() -> bool:
    """Whether `$MLFLOW_TRACKING_URI` is a server."""
    return tracking_uri().startswith("http")


def import_mlflow() -> Any:
    """Import and return mlflow, with the submodule that the database needs. The first import is slow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # With a server, MLflow would print the run's URL to stdout, which is reserved for the report.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Fail soon if a server does not answer: MLflow's default timeouts add up to many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # Ten lines of it for one small model.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow = importlib.import_module("mlflow")
    if not is_server():
        # MLflow would import this later, when the database is opened.
        importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def open_mlflow() -> Any:
    """Return mlflow with the tracking URI set. Create the database in `mlruns/` first if it does not exist."""
    mlflow = import_mlflow()
    if has_no_database():
        _create_database(_database())
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def has_no_database() -> bool:
    """Whether MLflow uses the database in `mlruns/` and it does not exist, e.g. because it was deleted."""
    return tracking_uri() == paths.sqlite_url(_database()) and not _database().exists()


def _create_database(path: Path) -> None:
    """Create the database under a lock and atomically: processes that open a missing one at the same time all fail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            sqlalchemy_store.SqlAlchemyStore(paths.sqlite_url(new), str(path.parent / "artifacts"))
            # A new database has none of the runs that an earlier one had, so forget that they were logged.
            for memory in path.parent.glob("runs/*/mlflow.json"):
                memory.unlink()
            os.replace(new, path)


def ui_url(experiment_id: str, run_id: str) -> str:
    """Return the URL of a run in the MLflow UI: on the server, or on the port where `make ui` serves the database."""
    server = tracking_uri() if is_server() else "http://127.0.0.1:5000"
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn an MLflow error into a HarnessError that says what is safe and what to do. Signals are deferred."""
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
    """Select the MLflow experiment of a data set, create it if it does not exist, and return its id.

    There is one experiment per data set, so that the comparison view cannot mix them. The experiment of CIFAR-10 also
    has the published curve, as a run called `published`, to compare the other runs with.
    """
    # One process at a time: two processes that create the same experiment, or the same run in it, would clash.
    with filelock.FileLock(paths.mlruns() / "experiment.lock"):
        known = mlflow.get_experiment_by_name(data)
        if known is None:
            # A server has its own location. Without a server, MLflow would use the current working directory.
            location = None if is_server() else _location(paths.mlruns() / "artifacts" / data)
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


def _location(folder: Path) -> str:
    """Return a folder as MLflow stores it: it reads `%25` in a path as `%`, but not in a URL."""
    return folder.as_uri() if "%" in str(folder) else str(folder)


def _import_published(mlflow: Any, experiment_id: str) -> None:
    client = mlflow.MlflowClient()
    known = client.search_runs([experiment_id], "tags.variant = 'published'")
    if any(run.info.status == "FINISHED" for run in known):
        return
    tags = {"variant": "published", "source": "read off the notebook's figures: ±0.002 accuracy, ±0.01 loss"}
    # Continue an import that was killed: MLflow drops metrics with the same time and value.
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
    # The tracker then searches MLflow for the run by its key.
    except (FileNotFoundError, ValueError):
        return {}
    if has_no_database():
        known.pop(tracking_uri(), None)
    return known


def remember(
    folder: RunFolder, run_id: str, experiment_id: str, *, complete: bool, seconds: float | None = None
) -> None:
    """Write to mlflow.json which MLflow run belongs to a run folder at the current tracking URI.

    complete: whether the run's end is logged too. seconds: the tracking time, or None while it is not known.
    """
    here = {"run_id": run_id, "experiment_id": experiment_id, "complete": complete, "seconds": seconds}
    write_atomically(folder.path / "mlflow.json", json.dumps(_read(folder) | {tracking_uri(): here}).encode())


def run_id(folder: RunFolder) -> str:
    """Return the MLflow run id of a run folder at the current tracking URI, or "" if there is none yet."""
    return _read(folder).get(tracking_uri(), {}).get("run_id", "")


def seconds(folder: RunFolder) -> float | None:
    """Return the tracking time in the process that finished the run, in seconds; None if it has not finished."""
    return _read(folder).get(tracking_uri(), {}).get("seconds")


def run_url(folder: RunFolder) -> str:
    """Return the URL of the run in the MLflow UI, or "" if MLflow has no run of it yet."""
    known = _read(folder).get(tracking_uri(), {})
    return ui_url(known["experiment_id"], known["run_id"]) if known else ""


def is_tracked(folder: RunFolder) -> bool:
    """Whether all of a run, its end included, has been logged to MLflow at the current tracking URI."""
    return _read(folder).get(tracking_uri(), {}).get("complete", False)
