"""MLflow: a view of the runs on disk, brought up to date after every epoch.

Rows carry the time they were measured at, so logging one twice is logging it once (MLflow drops an exact
duplicate): whatever a killed process had not told MLflow, the next one does.
"""

import contextlib
import json
import logging
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil

from harness import notebook, paths
from harness.errors import HarnessError
from harness.hardware import cpu_name
from harness.metrics import FINAL, PER_EPOCH
from harness.runs import History, Result, RunFolder, write_atomically

#: A run of another machine that has been silent for this long, in seconds, is taken for dead.
SILENCE = 3600.0


def tracking_uri() -> str:
    """`$MLFLOW_TRACKING_URI`, or the database in `mlruns/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.mlruns() / 'mlflow.db'}"


def open_mlflow() -> Any:
    """The mlflow module, pointed at a database that exists. Raises HarnessError when it cannot be reached."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A server that does not answer is an error after seconds, not after MLflow's default of many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = tracking_uri()
    if uri == f"sqlite:///{paths.mlruns() / 'mlflow.db'}":
        _create_database(paths.mlruns() / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    return mlflow


def _create_database(path: Path) -> None:
    """Create the database once, whole: processes that open a missing one together all fail."""
    import filelock
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            SqlAlchemyStore(f"sqlite:///{new}", str(path.parent / "artifacts"))
            os.replace(new, path)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn a failure of MLflow's store into one that says what is safe and what to do."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HarnessError(
            f"MLflow at {tracking_uri()} did not take the run's data ({first_line[:200]}). Every finished epoch is "
            f"safe in {paths.mlruns() / 'runs'}; see that nothing else holds the database, that its disk has room, or "
            f"that the server answers, and give the same command again: MLflow is then brought up to date."
        ) from error


class Tracker:
    """The MLflow run of one run folder. An observer of its training, and a context that always ends the run."""

    def __init__(self, folder: RunFolder, name: str, tags: dict[str, str], dataset_source: str) -> None:
        self.folder, self.name, self.tags, self.source = folder, name, tags, dataset_source
        self.seconds = 0.0
        self.run_id = ""
        self._status = "FAILED"

    def __enter__(self) -> "Tracker":
        with self.timed():
            self.mlflow = open_mlflow()
            self.experiment_id = choose_experiment(self.mlflow, self.folder.config.data)
            mark_dead_runs(self.mlflow)
            self._start_run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._status = "KILLED"
        # The error that ends the block is the one to show, not the one that MLflow may add to it.
        with contextlib.suppress(Exception) if kind else _explained():
            self.mlflow.end_run(self._status)

    def started(self, history: History) -> None:
        """Tell MLflow what it has not heard yet."""
        for row in history:
            self.epoch(row)

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Nothing to track."""

    def epoch(self, row: dict[str, float]) -> None:
        """One request for all metrics of an epoch."""
        with self.timed():
            metrics = {name: value for name, value in row.items() if name in PER_EPOCH}
            self.mlflow.log_metrics(metrics, step=int(row["epoch"]), timestamp=int(row["timestamp"]))
            self.mlflow.set_tag("heartbeat", int(time.time()))

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Log how the run ended: final metrics, the artifacts folder, and the model of a finished run."""
        with self.timed():
            ended = {"outcome": result.status, "weights_sha256": result.weights_sha256}
            self.mlflow.set_tags(ended | ({"reason": result.reason} if result.reason else {}))
            if result.status == "finished":
                errors = {f"error_{name}": value for name, value in result.error_per_class.items()}
                final = {name: value for name, value in result.metrics.items() if name in FINAL} | errors
                # At the last epoch's own time, so that logging them again changes nothing.
                self.mlflow.log_metrics(final, step=len(history), timestamp=int(history[-1]["timestamp"]))
                self._log_model(model, images)
            if self.folder.artifacts.exists():
                self.mlflow.log_artifacts(str(self.folder.artifacts))
        with self.timed():
            self.mlflow.log_metric("tracking_seconds", self.seconds)
            self._remember(complete=True)
        self._status = "FINISHED" if result.status == "finished" else "FAILED"

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count the block's time as tracking."""
        begin = time.perf_counter()
        with _explained():
            yield
        self.seconds += time.perf_counter() - begin

    def _start_run(self) -> None:
        config = self.folder.config
        self.run_id = run_id(self.folder)
        known = bool(self.run_id)
        if known:
            try:
                self.mlflow.get_run(self.run_id)
            except self.mlflow.exceptions.MlflowException:
                known = False
        tags = self.tags | environment() | {"run_key": config.key, "run_folder": str(self.folder.path)}
        run = self.mlflow.start_run(run_id=self.run_id if known else None, run_name=self.name, log_system_metrics=True)
        self.run_id = run.info.run_id
        self.mlflow.set_tags(tags)
        if not known:
            self._remember(complete=False)
            self.mlflow.log_params({k: _readable(v) for k, v in config.flat().items()})
            self.mlflow.log_dict(json.loads(config.to_json()), "config.json")
            dataset = self.mlflow.data.meta_dataset.MetaDataset(
                source=self.mlflow.data.code_dataset_source.CodeDatasetSource({"found": self.source}),
                name=config.data,
                digest=config.data_fingerprint[:8],
            )
            self.mlflow.log_input(dataset, context=config.split)

    def _remember(self, complete: bool) -> None:
        here = {"run_id": self.run_id, "experiment_id": self.experiment_id, "complete": complete}
        runs = _memory(self.folder) | {tracking_uri(): here}
        write_atomically(self.folder.path / "mlflow.json", json.dumps(runs).encode())

    def _log_model(self, model: Any, images: np.ndarray) -> None:
        from mlflow.models import infer_signature

        pixels = images[:2].astype(np.float32)
        # Without the requirements MLflow spends seconds to guess them; input_example fails on Keras models.
        self.mlflow.keras.log_model(
            model,
            name="model",
            signature=infer_signature(pixels, np.asarray(model(pixels))),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("tensorflow", "keras")],
        )


def choose_experiment(mlflow: Any, data: str) -> str:
    """Make the MLflow experiment of a data set the present one and return its id.

    One experiment per data set: the comparison view then cannot mix them. On CIFAR-10 it holds the published
    curve too, as a run called `published`, to lay over the others.
    """
    import filelock

    # One process at a time: two that create the same experiment, or the same run in it, would clash.
    with filelock.FileLock(paths.mlruns() / "experiment.lock"):
        known = mlflow.get_experiment_by_name(data)
        if known is None:
            local = not os.environ.get("MLFLOW_TRACKING_URI")
            location = str(paths.mlruns() / "artifacts" / data) if local else None
            mlflow.create_experiment(data, artifact_location=location)
        experiment_id = mlflow.set_experiment(data).experiment_id
        if notebook.comparable(data):
            _import_published(mlflow, experiment_id)
    return experiment_id


def _import_published(mlflow: Any, experiment_id: str) -> None:
    from mlflow.entities import Metric

    client = mlflow.MlflowClient()
    if client.search_runs([experiment_id], "tags.variant = 'published' and attributes.status = 'FINISHED'"):
        return
    tags = {"variant": "published", "source": "read off the notebook's figures: ±0.002 accuracy, ±0.01 loss"}
    run_id = client.create_run(experiment_id, run_name="published", tags=tags).info.run_id
    metrics = [
        Metric(str(name), float(value), 0, int(row["epoch"]))
        for _, row in notebook.curve().iterrows()
        for name, value in row.items()
        if name != "epoch" and value == value
    ]
    for start in range(0, len(metrics), 1000):  # as many as one request may carry
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    for name, value in {"accuracy": "test_accuracy", "cross_entropy": "test_loss"}.items():
        client.log_metric(run_id, name, notebook.final()[value])
    client.set_terminated(run_id)


def _memory(folder: RunFolder) -> dict[str, Any]:
    file = folder.path / "mlflow.json"
    return json.loads(file.read_text()) if file.exists() else {}


def run_id(folder: RunFolder) -> str:
    """The MLflow run of a run folder at the present tracking URI; empty when there is none yet."""
    return _memory(folder).get(tracking_uri(), {}).get("run_id", "")


def run_url(folder: RunFolder) -> str:
    """Where `make ui` shows the run; empty before it has one."""
    known = _memory(folder).get(tracking_uri(), {})
    if not known:
        return ""
    server = tracking_uri() if tracking_uri().startswith("http") else "http://127.0.0.1:5000"
    return f"{server}/#/experiments/{known['experiment_id']}/runs/{known['run_id']}"


def is_tracked(folder: RunFolder) -> bool:
    """Whether MLflow at the present tracking URI has been told all of a run."""
    return _memory(folder).get(tracking_uri(), {}).get("complete", False)


def mark_dead_runs(mlflow: Any) -> list[str]:
    """Set runs that a killed process left RUNNING to KILLED; returns their ids.

    A run is dead when its process is gone, or, on another machine, when it has been silent for `SILENCE`.
    """
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    dead = []
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING' and tags.host != ''"):
        tags = run.data.tags
        if tags["host"] == socket.gethostname():
            alive = tags.get("process") in {_process_name(int(tags.get("process", "0@").split("@")[0]))}
        else:
            alive = time.time() - float(tags.get("heartbeat", run.info.start_time / 1000)) < SILENCE
        if not alive:
            client.set_tag(run.info.run_id, "reason", "its process died")
            client.set_terminated(run.info.run_id, "KILLED")
            dead.append(run.info.run_id)
    return dead


def _process_name(pid: int) -> str:
    """A name that no later process shares: numbers are used again."""
    try:
        return f"{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def environment() -> dict[str, str]:
    """Tags that say where a run was made: versions, hardware, commit, process."""
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "mlflow", "numpy") if _installed(name)}
    return {
        **{f"version_{name}": version for name, version in versions.items()},
        "version_python": platform.python_version(),
        "cpu": cpu_name(),
        "host": socket.gethostname(),
        "process": _process_name(os.getpid()),
        "heartbeat": str(int(time.time())),
        **_git(),
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git() -> dict[str, str]:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(paths.PROJECT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_dirty": str(bool(git("status", "--porcelain"))).lower(),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}


def _readable(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
