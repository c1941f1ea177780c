"""What was found as a run of its own in MLflow, which links the runs it rests on: an answer, or a search."""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from harness.common import paths
from harness.reporting.sentences import findings
from harness.tracking.mlflow_store import choose_experiment, explained, open_mlflow, ui_url
from harness.tracking.provenance import provenance

#: What makes an answer this one and no other: one with the same, but of more seeds, takes its place.
IDENTITY = ("experiment", "recipe", "budget", "changes", "data", "split", "precision", "engine")

#: In characters. MLflow cuts a longer one off wherever that may be.
LONGEST_NOTE = 8000


def log_answer(document: dict[str, Any], folder: Path) -> str:
    """Tell MLflow an answer, and the files in its folder; returns where the UI shows it."""
    identity = {"kind": "answer"} | {name: document[name] for name in IDENTITY}
    name = f"answer: {document['experiment']} {document['budget']}"
    return log_findings(document["data"], name, identity, _note(document), dict(_metrics(document)), folder)


def log_findings(
    data: str, name: str, identity: Mapping[str, str], note: str, metrics: Mapping[str, float], folder: Path
) -> str:
    """Tell MLflow of a folder of findings; returns where the UI shows them.

    identity: the tags that make these findings those and no others; the ones known under them are brought up to date.
    note: Markdown that the run's page shows.
    """
    tags = provenance() | {"mlflow.note.content": note}
    with explained():
        mlflow = open_mlflow()
        experiment_id = choose_experiment(mlflow, data)
        client = mlflow.MlflowClient()
        # One process at a time: two would find no such run, and make one each.
        with filelock.FileLock(paths.mlruns() / "answers.lock"):
            run_id = _find(client, experiment_id, identity)
            if run_id is None:
                run_id = client.create_run(experiment_id, tags=dict(identity), run_name=name).info.run_id
                # At once, so that a kill cannot leave it RUNNING: a client may write to a run that is over.
                client.set_terminated(run_id)
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            [mlflow.entities.Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[mlflow.entities.RunTag(name, value) for name, value in tags.items()],
        )
        client.log_artifacts(run_id, str(folder))
        client.set_terminated(run_id)
    return ui_url(experiment_id, run_id)


def _find(client: Any, experiment_id: str, identity: Mapping[str, str]) -> str | None:
    for run in client.search_runs([experiment_id], f"tags.kind = '{identity['kind']}'"):
        if all(run.data.tags.get(name, "") == value for name, value in identity.items()):
            return run.info.run_id
    return None


def _metrics(document: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for row in document["variants"]:
        # What MLflow takes in the name of a metric is less than what may be in the name of a variant.
        variant = re.sub(r"[^\w. -]+", "-", row["variant"]).strip(". ")
        phase = "" if row["phase"] == "same recipe" else f" {row['phase']}"
        if row["accuracy"]:
            yield f"accuracy{phase}/{variant}", row["accuracy"]["mean"]
        if row["against_baseline"]:
            yield f"difference in points{phase}/{variant}", 100 * row["against_baseline"]["mean"]


def _note(document: dict[str, Any]) -> str:
    """What came of the predictions, and a link to every run; where that is too long, not to those that come last."""
    links: dict[str, list[str]] = {}
    for run in sorted(document["runs"], key=lambda run: run["phase"] == "tuning"):
        label = f"{run['learning_rate']:.3g}" if run["phase"] == "tuning" else str(run["seed"])
        links.setdefault(f"{run['variant']}, {run['phase']}", []).append(_link(label, run["url"]))
    lines = [f"**{document['question']}**", ""]
    lines += [f"- **{verdict}**: {because}" for verdict, because in findings(document)]
    lines += [
        "",
        "README.md among the artifacts has the tables. The runs, by seed (when tuning, by learning rate):",
        "",
    ]
    lines += [f"- {group}: {' '.join(found)}" for group, found in links.items()]
    while sum(map(len, lines)) + len(lines) > LONGEST_NOTE:
        lines.pop()
    return "\n".join(lines)


def _link(label: str, url: str) -> str:
    """A link within the UI, whichever port it is served on; the label alone where there is nothing to link."""
    _, hash_mark, place = url.partition("#")
    return f"[{label}](#{place})" if hash_mark else label
