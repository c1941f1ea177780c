"""The MLflow run of a search trial, and the way from the trial's page in the Optuna dashboard to it."""

import optuna

from harness.common.lazy import lazy_import
from harness.runs.folder import RunFolder
from harness.tracking.mlflow_ids import run_id, run_url
from harness.tracking.mlflow_store import explained, open_mlflow

optuna_dashboard = lazy_import("optuna_dashboard")


def tell_trial(folder: RunFolder, trial: optuna.Trial, pruned: str) -> None:
    """Tag the run of a trial's last rung, and link it from the trial. pruned: why, or empty."""
    trial.set_user_attr("mlflow_run_id", tag_trial(folder, trial.study.study_name, trial.number, pruned))
    optuna_dashboard.save_note(
        trial, f"[The run in MLflow]({run_url(folder)}), run key {folder.config.key}\n\n{pruned}"
    )


def tag_trial(folder: RunFolder, study: str, number: int, pruned: str) -> str:
    """Tag a run with its study and trial, and end it as KILLED where it was pruned; the run's id in MLflow."""
    tags = {"study": study, "trial": str(number)} | ({"reason": pruned} if pruned else {})
    known = run_id(folder)
    with explained():
        client = open_mlflow().MlflowClient()
        for name, value in tags.items():
            client.set_tag(known, name, value)
        if pruned:
            client.set_terminated(known, "KILLED")
    return known
