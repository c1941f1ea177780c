"""The MLflow run of one run folder.

Every row of metrics has the time at which it was measured, and MLflow drops exact duplicates, so logging a row twice
is harmless. If a process is killed, the next one therefore logs the whole history again.
"""

import contextlib
import getpass
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from harness import published
from harness.common.lazy import lazy_import
from harness.common.process import is_alive, signs_of_life
from harness.common.signals import deferred
from harness.config import RunConfig
from harness.metrics import FINAL, INSIDE, PER_EPOCH
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result
from harness.tracking.mlflow_store import (
    choose_experiment,
    create_run,
    explained,
    is_ours,
    open_mlflow,
    owner,
)
from harness.tracking.model import begun_models, find_model
from harness.tracking.provenance import version
from harness.tracking.told import remember, run_id

keras = lazy_import("keras")


class Tracker:
    """Callback that logs a run to MLflow. As a context manager it ends the MLflow run however the block ends."""

    def __init__(
        self,
        folder: RunFolder,
        name: str,
        tags: dict[str, str],
        dataset_source: str,
        times: tuple[int, int] | None = None,
        command: str = "",
    ) -> None:
        """command: what trains the run, for its note.

        times: when a run that was made elsewhere began and ended, in ms since 1970; None for one made now.
        """
        self.folder, self.name, self.tags, self.source, self._times = folder, name, tags, dataset_source, times
        self.command = command
        self.seconds = 0.0
        self.run_id = ""
        self._status = "FAILED"
        self._complete = False
        self.mlflow: Any = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and not self._complete:
            self._status = "KILLED"
        # If the block raised, show its error and not one that MLflow may raise here.
        with deferred(), contextlib.suppress(Exception) if kind else explained():
            if self.mlflow is None:
                return
            self.mlflow.end_run(self._status)
            if self._times:
                self.mlflow.MlflowClient().set_terminated(self.run_id, self._status, self._times[1])
            if self._complete:
                remember(self.folder, self.run_id, self.experiment_id, complete=True, seconds=self.seconds)

    def started(self, history: History) -> None:
        """Open MLflow before the first step, so that one that cannot be used is refused before time is spent.

        The finished epochs are logged again: a killed process may not have logged all of them.
        """
        with explained(), self.timed():
            self.mlflow = open_mlflow()
            self.experiment_id = choose_experiment(self.mlflow, self.folder.config.data)
            mark_dead_runs(self.mlflow)
            self._start_run()
            for row in history:
                self._log(row)

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Do nothing: epochs are logged, not steps."""

    def epoch(self, row: dict[str, float]) -> None:
        """Log all metrics of an epoch in one request."""
        with self.timed(), explained():
            self._log(row)

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Log the result: final metrics and the model of a finished run, and the artifacts folder of any run."""
        with self.timed(), explained():
            if result.status == "finished":
                errors = {f"error_{name}": value for name, value in result.error_per_class.items()}
                final = {name: value for name, value in result.metrics.items() if name in FINAL} | errors
                # With the last epoch's timestamp, so that logging them again changes nothing.
                self.mlflow.log_metrics(final, step=len(history), timestamp=int(history[-1]["timestamp"]))
                if model is not None:
                    self._log_model(model, images, list(result.error_per_class))
            self.mlflow.log_artifacts(str(self.folder.artifacts))
        ended = {
            "outcome": result.status,
            "weights_sha256": result.weights_sha256,
            "reason": result.reason,
            "mlflow.note.content": run_note(self.folder.config, result, self.command),
        }
        with explained():
            self.mlflow.set_tags({k: v for k, v in ended.items() if v} | {"tracking_seconds": f"{self.seconds:.1f}"})
            # Somebody may have taken this process for dead: a server's clock, or a machine that was suspended.
            if not result.reason and "reason" in self.mlflow.get_run(self.run_id).data.tags:
                self.mlflow.delete_tag("reason")
        self._status = "FINISHED" if result.status == "finished" else "FAILED"
        self._complete = True

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Add the block's duration to the tracking time."""
        begin = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - begin

    def _log(self, row: dict[str, float]) -> None:
        metrics = {name: value for name, value in row.items() if name.partition("/")[0] in PER_EPOCH | INSIDE}
        self.mlflow.log_metrics(metrics, step=int(row["epoch"]), timestamp=int(row["timestamp"]))
        self.mlflow.set_tag("heartbeat", int(time.time()))

    def _start_run(self) -> None:
        config = self.folder.config
        tags = self.tags | signs_of_life() | owner() | {"run_key": config.key}
        client = self.mlflow.MlflowClient()
        mine = _runs_of(client, self.experiment_id, self.folder)
        if mine:
            self.run_id = mine[0].info.run_id
            # Before the run is RUNNING again: while it has a dead process's tags, another process would end it.
            for name, value in signs_of_life().items():
                client.set_tag(self.run_id, name, value)
            if "reason" in mine[0].data.tags:
                client.delete_tag(self.run_id, "reason")
        else:
            begun = self._times[0] if self._times else None
            self.run_id = create_run(client, self.experiment_id, self.name, tags | _source(tags), begun)
        self.mlflow.start_run(self.run_id, tags=tags, log_system_metrics=not self._times)
        remember(self.folder, self.run_id, self.experiment_id, complete=False)
        self.mlflow.log_params({name: _readable(value) for name, value in config.flat().items()})
        self.mlflow.log_dict(json.loads(config.to_json()), "config.json")
        dataset = self.mlflow.data.meta_dataset.MetaDataset(
            source=self.mlflow.data.code_dataset_source.CodeDatasetSource({"found": self.source}),
            name=config.data,
            digest=config.data_fingerprint[:8],
        )
        self.mlflow.log_input(dataset, context=config.split)

    def _log_model(self, model: Any, images: np.ndarray, classes: Sequence[str]) -> None:
        client = self.mlflow.MlflowClient()
        if find_model(client, self.run_id):
            return
        pixels = images[:2].astype(np.float32)
        # If no requirements are given, MLflow guesses them, which is slow. input_example fails on Keras models.
        about = {
            "signature": self.mlflow.models.infer_signature(pixels, np.asarray(model(pixels))),
            "pip_requirements": [
                f"{name}=={version(name)}" for name in (keras.backend.backend(), "keras") if version(name)
            ],
            "metadata": {"class_names": classes},
        }
        begun = begun_models(client, self.run_id)
        if not begun:
            self.mlflow.keras.log_model(model, name="model", tags=_source(self.tags), **about)
            return
        # A process that was killed, or a server whose answer was lost, left it without its files.
        model_id = begun[0].model_id
        with tempfile.TemporaryDirectory() as folder:
            described = self.mlflow.models.Model(
                begun[0].artifact_location, self.run_id, model_uuid=model_id, model_id=model_id
            )
            self.mlflow.keras.save_model(model, f"{folder}/model", mlflow_model=described, **about)
            client.log_model_artifacts(model_id, f"{folder}/model")
        client.finalize_logged_model(model_id, "READY")


def run_note(config: RunConfig, result: Result, command: str) -> str:
    """Return the note on a run's page, as Markdown: its accuracy, held against the target where that is fair."""
    if result.status == "finished":
        accuracy = result.metrics["accuracy"]
        text = f"**Accuracy {accuracy:.4f}** on {config.eval_images:,} {config.judged} images"
        if published.comparable_run(config):
            apart = 100 * (accuracy - published.ACCURACY_TARGET)
            text += f", {apart:+.2f} points from the target {published.ACCURACY_TARGET}; one run is no verdict"
    else:
        text = f"**{result.status}**: {result.reason}"
    return text + (f"\n\n    {command}" if command else "")


def noted_command(folder: RunFolder) -> str:
    """Return the command in the note of a run (`run_note`), which trains it; "" where it has none."""
    with explained():
        note = open_mlflow().MlflowClient().get_run(run_id(folder)).data.tags.get("mlflow.note.content", "")
    return next((line.strip() for line in note.splitlines() if line.startswith("    harness ")), "")


def supersede(folder: RunFolder) -> None:
    """Mark the MLflow runs of a run folder as superseded: `--fresh` trains another run with the same key."""
    with explained():
        mlflow = open_mlflow()
        client = mlflow.MlflowClient()
        experiment = mlflow.get_experiment_by_name(folder.config.data)
        for run in _runs_of(client, experiment.experiment_id, folder) if experiment else []:
            client.set_tag(run.info.run_id, "superseded", "true")


def delete(folder: RunFolder) -> None:
    """Delete the MLflow runs of a run folder. MLflow keeps deleted runs until `mlflow gc`."""
    with explained():
        mlflow = open_mlflow()
        client = mlflow.MlflowClient()
        experiment = mlflow.get_experiment_by_name(folder.config.data)
        for run in _runs_of(client, experiment.experiment_id, folder) if experiment else []:
            client.delete_run(run.info.run_id)


def _runs_of(client: Any, experiment_id: str, folder: RunFolder) -> list[Any]:
    """Return the MLflow runs of a run folder that are neither superseded nor deleted, that of mlflow.json first.

    A process may die after it has created the MLflow run and before it has written mlflow.json: then the run is found
    by its key. On a server other machines have runs of the same key, and their folders may be at the same path.
    """
    known = run_id(folder)
    runs = client.search_runs([experiment_id], f"tags.run_key = '{folder.config.key}'")
    mine = [run for run in runs if run.info.run_id == known or is_ours(run.data.tags)]
    return sorted(
        (run for run in mine if "superseded" not in run.data.tags), key=lambda run: bool(run.info.run_id != known)
    )


def _source(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that the columns "Created by", "Source" and "Version" of MLflow's table of runs show."""
    found = {"mlflow.source.name": "harness", "mlflow.source.type": "LOCAL"}
    if "git_commit" in tags:
        found["mlflow.source.git.commit"] = tags["git_commit"]
    # A container may run as a user without a name.
    with contextlib.suppress(OSError, KeyError):
        found["mlflow.user"] = getpass.getuser()
    return found


def _readable(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)


def mark_dead_runs(mlflow: Any) -> None:
    """Set the runs of this harness whose process is dead to KILLED."""
    client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    # Only the harness's own runs have this tag: a server may hold other people's runs.
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING' and tags.run_key != ''"):
        if not is_alive({"heartbeat": str(run.info.start_time / 1000)} | run.data.tags):
            client.set_tag(run.info.run_id, "reason", "its process died")
            client.set_terminated(run.info.run_id, "KILLED")
