"""The MLflow run of a search trial, and the way from the trial's page in the Optuna dashboard to it."""

import optuna

from harness.runs import RunFolder
from harness.tracking.memory import run_id, run_url
from harness.tracking.store import explained, open_mlflow


def tell_trial(folder: RunFolder, trial: optuna.Trial, pruned: str) -> None:
    """Tag the run of a trial's last rung with study and trial, end it as KILLED where it was pruned, and link it.

    pruned: why, or empty.
    """
    # Only now: it takes seconds to import.
    from optuna_dashboard import save_note

    tags = {"study": trial.study.study_name, "trial": str(trial.number)} | ({"reason": pruned} if pruned else {})
    known = run_id(folder)
    with explained():
        client = open_mlflow().MlflowClient()
        for name, value in tags.items():
            client.set_tag(known, name, value)
        if pruned:
            client.set_terminated(known, "KILLED")
    trial.set_user_attr("mlflow_run_id", known)
    key = folder.config.key
    save_note(trial, f"[The run in MLflow]({run_url(folder)}), run key {key}\n\n{pruned}")
