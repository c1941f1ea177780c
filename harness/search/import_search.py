"""Import a search from a machine without MLflow (`harness search --offline`)."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.common.errors import HarnessError, first_line
from harness.runs.folder import all_runs
from harness.search.study import StudyConfig, open_search, recorded_config
from harness.tracking.mlflow_report import tag_trial


def take_in_searches(database: Path) -> list[dict[str, Any]]:
    """Import the searches of an Optuna database; return a row for each: name, status, and the reason if it is refused.

    Import the bundles of the runs first, because each trial is linked to its MLflow run. If a search was imported
    before, only its new trials are added.
    """
    try:
        storage = f"sqlite:///{database}"
        names = optuna.study.get_all_study_names(storage)
        theirs = [optuna.load_study(study_name=name, storage=storage) for name in sorted(names)]
        searches = [(study, study_config) for study in theirs if (study_config := recorded_config(study))]
    except Exception as error:
        reason = f"it is no whole database of Optuna's ({first_line(error)}): copy it again from where it was made."
        return [{"search": str(database), "status": "refused", "reason": reason}]
    rows = []
    for study, study_config in searches:
        row = {"search": study.study_name, "status": "", "reason": ""}
        try:
            row["status"] = "imported" if _take_in(study, study_config) else "known"
        except HarnessError as error:
            row["status"], row["reason"] = "refused", str(error)
        rows.append(row)
    return rows


def _take_in(theirs: optuna.Study, study_config: StudyConfig) -> int:
    """Add the trials that this machine does not have yet, and return how many were added."""
    ours = open_search(theirs.study_name, study_config)
    # Stop at the first unfinished trial: it is still running there, or was killed and is not yet marked as failed.
    # The next import takes it, and those after it.
    told = list(takewhile(lambda trial: trial.state.is_finished(), theirs.trials))
    known = ours.get_trials(deepcopy=False)
    both = list(zip(known, told, strict=False))
    if any(_identity(one) != _identity(other) for one, other in both):
        raise HarnessError(
            f"The search {theirs.study_name!r} of this machine has other trials: one of the two must go by another "
            f"name (--study NAME)."
        )
    runs = {run.config.key: run for run in all_runs()}
    for trial in told[len(both) :]:
        run = runs.get(trial.user_attrs.get("run_key", ""))
        if run is not None:
            pruned = trial.user_attrs.get("pruned", "")
            trial.user_attrs["mlflow_run_id"] = tag_trial(run, ours.study_name, trial.number, pruned)
        ours.add_trial(trial)
    return len(told) - len(both)


def _identity(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.user_attrs.get("slot"), trial.user_attrs.get("run_key"), trial.params
