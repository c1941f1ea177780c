"""Log an answer to MLflow that may change: a report, a search, a comparison. Its run shows the newest only."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.common.lazy import lazy_import
from harness.tracking.mlflow_store import create_run

entities = lazy_import("mlflow.entities")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What MLflow is to show: the name of the run, the tags that identify it, what else it has, files of a folder."""

    name: str
    identity: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    folder: Path
    files: Sequence[Path]


def log_answer(client: Any, experiment_id: str, answer: Answer, earlier: Iterable[Any]) -> str:
    """Log an answer, and return the id of its MLflow run.

    earlier: the runs that hold the same answer so far. One is brought up to date, the others are deleted. MLflow takes
    back neither a metric nor a file: if each has some that the answer no longer has, a new run takes their place.
    """
    earlier = list(earlier)
    files = {file.relative_to(answer.folder).as_posix(): file for file in answer.files}
    kept = next((run for run in earlier if _holds_only(client, run, answer.metrics, files)), None)
    if kept:
        run_id = kept.info.run_id
    else:
        run_id = create_run(client, experiment_id, answer.name, answer.identity)
        # At once, so that a kill cannot leave the run RUNNING. A client may write to a terminated run.
        client.set_terminated(run_id)
    known = kept.data.metrics if kept else {}
    now = int(time.time() * 1000)
    metrics = [
        entities.Metric(name, value, now, _next_step(client, run_id, name) if name in known else 0)
        for name, value in answer.metrics.items()
        if known.get(name) != value
    ]
    client.log_batch(run_id, metrics, tags=[entities.RunTag(*each) for each in answer.tags.items()])
    for name, file in files.items():
        client.log_artifact(run_id, str(file), name.rpartition("/")[0] or None)
    client.set_terminated(run_id)
    for run in earlier:
        if run is not kept:
            client.delete_run(run.info.run_id)
    return run_id


def _next_step(client: Any, run_id: str, metric: str) -> int:
    """Return a step above all of a metric's: MLflow shows the highest, and the clock may have been set back."""
    return 1 + max((value.step for value in client.get_metric_history(run_id, metric)), default=-1)


def _holds_only(client: Any, run: Any, metrics: Mapping[str, float], files: Mapping[str, Path]) -> bool:
    return run.data.metrics.keys() <= metrics.keys() and _artifacts(client, run.info.run_id) <= files.keys()


def _artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for each in client.list_artifacts(run_id, folder):
        found |= _artifacts(client, run_id, each.path) if each.is_dir else {each.path}
    return found
