"""Import a search from a machine without MLflow (`harness search --offline`)."""

import contextlib
import tempfile
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.common.documents import read_bytes
from harness.common.errors import BadInput, HarnessError, first_line
from harness.data import Dataset, load_named
from harness.runs.folder import all_runs
from harness.search.study import StudyConfig, open_search, recorded_config
from harness.source_hash import source_hash
from harness.tracking.mlflow_report import tag_trial

#: Bytes. A thousand trials take a few MB.
LARGEST_DATABASE = 1024**3


def take_in_searches(database: Path, dataset_of: Callable[[str], Dataset] = load_named) -> list[dict[str, Any]]:
    """Import the searches of an Optuna database; return a row for each: name, status, and the reason if it is refused.

    Import the bundles of the runs first, because each trial is linked to its MLflow run. If a search was imported
    before, only its new trials are added. dataset_of: finds a data set by its name.
    """
    # A copy is read: opening a database may change it, and its path may have characters that a URL cannot hold.
    with tempfile.TemporaryDirectory() as folder:
        try:
            for part in ("", "-journal", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    copy = Path(folder, f"copy.db{part}")
                    copy.write_bytes(read_bytes(database.with_name(f"{database.name}{part}"), LARGEST_DATABASE))
            storage = f"sqlite:///{folder}/copy.db"
            names = optuna.study.get_all_study_names(storage)
            theirs = [optuna.load_study(study_name=name, storage=storage) for name in sorted(names)]
        except Exception as error:
            reason = f"it is no whole database of Optuna's ({first_line(error)}): copy it again from where it was made."
            return [{"search": str(database), "status": "refused", "reason": reason}]
        return [row for study in theirs if (row := _import(study, dataset_of))]


def _import(study: optuna.Study, dataset_of: Callable[[str], Dataset]) -> dict[str, Any] | None:
    """Import a study and return its row; None if it is no search."""
    row = {"search": study.study_name, "status": "", "reason": ""}
    try:
        study_config = recorded_config(study)
        if study_config is None:
            return None
        _check(study.study_name, study_config, dataset_of(study_config.data))
        row["status"] = "imported" if _take_in(study, study_config) else "known"
    except HarnessError as error:
        row["status"], row["reason"] = "refused", str(error)
    return row


def _check(name: str, study_config: StudyConfig, dataset: Dataset) -> None:
    """Raise BadInput if a search was made with other code or other data than this machine has."""
    source = source_hash(study_config.engine)
    if study_config.source != source:
        raise BadInput(
            f"The search {name!r} was made with other code ({study_config.source[:12]}) than is here ({source}): its "
            f"trials would not compare with new ones. Use the same commit."
        )
    if study_config.data_fingerprint != dataset.fingerprint:
        raise BadInput(
            f"The search {name!r} was made with other data ({study_config.data}, {study_config.data_fingerprint[:12]}) "
            f"than is here ({dataset.name}, {dataset.fingerprint[:12]}); set $CIFAR10_DIR to the same."
        )


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
    unusable = [trial.number for trial in told if not isinstance(trial.user_attrs.get("slot"), int)]
    if unusable:
        raise BadInput(f"Trial {unusable[0]} of the search {theirs.study_name!r} was not made by this harness.")
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
