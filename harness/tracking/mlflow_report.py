"""Log the report of an experiment or a search as an MLflow run of its own: its folder, its numbers and a note."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import optuna

from harness.common import paths
from harness.common.lazy import lazy_import
from harness.runs.folder import RunFolder
from harness.tracking.answer import Answer, log_answer
from harness.tracking.mlflow_store import (
    choose_experiment,
    explained,
    is_ours,
    is_server,
    open_mlflow,
    owner,
)
from harness.tracking.provenance import provenance
from harness.tracking.told import run_id, run_url, ui_url

optuna_dashboard = lazy_import("optuna_dashboard")


#: The longest note, in characters. MLflow truncates longer notes at an arbitrary place.
LONGEST_NOTE = 8000


def log_report(
    data: str, name: str, identity: Mapping[str, str], note: str, metrics: Mapping[str, float], folder: Path
) -> str:
    """Log a report to MLflow, and return the URL of its run in the UI.

    data: name of the data set, and so of the MLflow experiment. identity: the tags that identify this report, `kind`
    among them; it takes the place of an earlier one with the same tags. note: Markdown for the run's page, at most
    LONGEST_NOTE characters. folder: its files become artifacts. Raises HarnessError if MLflow fails.
    """
    answer = Answer(
        name=name, identity=owner() | dict(identity), tags=provenance() | {"mlflow.note.content": note},
        metrics=metrics, folder=folder, files=[file for file in folder.rglob("*") if file.is_file()],
    )  # fmt: skip
    with explained():
        mlflow = open_mlflow()
        experiment_id = choose_experiment(mlflow, data)
        client = mlflow.MlflowClient()
        # One process at a time: two processes would both find no such run, and each would create one.
        with filelock.FileLock(paths.mlruns() / "reports.lock"):
            run_id = log_answer(client, experiment_id, answer, _find(client, experiment_id, identity))
    return ui_url(experiment_id, run_id)


def _find(client: Any, experiment_id: str, identity: Mapping[str, str]) -> list[Any]:
    return [
        run
        for run in client.search_runs([experiment_id], f"tags.kind = '{identity['kind']}'")
        if is_ours(run.data.tags) and all(run.data.tags.get(name, "") == value for name, value in identity.items())
    ]


def tell_trial(folder: RunFolder, trial: optuna.Trial, pruned: str) -> None:
    """Tag the MLflow run of a trial's last rung, and link the trial to it. pruned: why it was pruned, or empty.

    What the trial's note shows and links to is served by harness/commands/dashboard.py.
    """
    trial.set_user_attr("mlflow_run_id", tag_trial(folder, trial.study.study_name, trial.number, pruned))
    url = run_url(folder)
    key = folder.config.key
    # The dashboard knows where the UI is, which may be on another port then.
    link = url if is_server() else f"/mlflow{url.partition('#')[2]}"
    note = [f"[The run in MLflow]({link}), run key {key}", pruned, f"![accuracy by epoch](/curves/{key}.png)"]
    optuna_dashboard.save_note(trial, "\n\n".join(filter(None, note)))


def tag_trial(folder: RunFolder, study: str, number: int, pruned: str) -> str:
    """Tag a run with its study and trial, end it as KILLED if the trial was pruned, and return its MLflow run id."""
    tags = {"study": study, "trial": str(number)} | ({"reason": pruned} if pruned else {})
    known = run_id(folder)
    with explained():
        client = open_mlflow().MlflowClient()
        for name, value in tags.items():
            client.set_tag(known, name, value)
        if pruned:
            client.set_terminated(known, "KILLED")
    return known
