"""Import a search from a machine without MLflow (`harness search --offline`)."""

import contextlib
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState

from harness.common.documents import parse, read_bytes
from harness.common.errors import BadInput, HarnessError, first_line
from harness.data import Dataset, load_named
from harness.execute import queue_database
from harness.runs.bundle import read_bundle
from harness.runs.folder import RunFolder, all_runs
from harness.search.objective import DIVERGED
from harness.search.study import StudyConfig, open_search, recorded_config
from harness.source_hash import source_hash
from harness.tracking.mlflow_report import tag_trial

#: Bytes. A thousand trials take a few MB.
LARGEST_DATABASE = 1024**3


@dataclass(frozen=True)
class TrialAttributes:
    """What a trial of a search says of itself in Optuna's database: what planned, trained and pruned it has set."""

    slot: int
    is_baseline: bool = False
    run_key: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    pflop: float = 0.0
    seconds: float = 0.0
    pruned: str = ""
    diverged: str = ""
    reason: str = ""
    mlflow_run_id: str = ""
    worker_machine: str = ""
    worker_process: str = ""


def take_in_searches(database: Path, dataset_of: Callable[[str], Dataset] = load_named) -> list[dict[str, Any]]:
    """Import the searches of an Optuna database; return a row for each: name, status, and the reason if it is refused.

    Import the bundles of the runs first, because each trial is linked to its MLflow run. If a search was imported
    before, only its new trials are added. dataset_of: finds a data set by its name.
    """
    # Optuna would announce the study that the trials are checked in.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A copy is read: opening a database may change it, and its path may have characters that a URL cannot hold.
    with tempfile.TemporaryDirectory() as folder:
        try:
            for part in ("", "-journal", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    copy = Path(folder, f"copy.db{part}")
                    copy.write_bytes(read_bytes(database.with_name(f"{database.name}{part}"), LARGEST_DATABASE))
            storage = f"sqlite:///{folder}/copy.db"
            names = _study_names(Path(folder, "copy.db"))
        except Exception as error:
            reason = f"it is no whole database of Optuna's ({first_line(error)}): copy it again from where it was made."
            return [{"search": str(database), "status": "refused", "reason": reason}]
        rows = [_import(name, storage, database.parent / "runs", dataset_of) for name in names]
        return [row for row in rows if row]


def _study_names(database: Path) -> list[str]:
    """Return the names of the studies of a database, in their order.

    Raises ValueError or sqlite3.Error if pages of it are damaged or tables of Optuna's are missing.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise ValueError(" ".join(found.split()))
        # Optuna would make a table that is missing, without a word and without a trial.
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if missing := BaseModel.metadata.tables.keys() - tables:
            raise ValueError(f"it has no table {min(missing)!r}")
        # Optuna reads the attributes of all studies with their names, and one of them may be damaged.
        return sorted(str(name) for (name,) in connection.execute("SELECT study_name FROM studies"))


def _import(name: str, storage: str, bundles: Path, dataset_of: Callable[[str], Dataset]) -> dict[str, Any] | None:
    """Import a study and return its row; None if it is no search. bundles: the folder with those of its runs."""
    row = {"search": name if name.isprintable() else ascii(name), "status": "", "reason": ""}
    try:
        try:
            theirs = optuna.load_study(study_name=name, storage=storage)
            study_config = recorded_config(theirs)
            told = _read(theirs) if study_config else []
        except BadInput:
            raise
        # Damaged values make Optuna, its database and JSON raise anything.
        except Exception as error:
            raise _damaged(row["search"], first_line(error)) from error
        if study_config is None:
            return None
        _check(name, study_config, dataset_of(study_config.data))
        with queue_database.explained():
            row["status"] = "imported" if _take_in(name, told, study_config, bundles) else "known"
    except HarnessError as error:
        row["status"], row["reason"] = "refused", str(error)
    return row


def _damaged(name: str, why: str) -> BadInput:
    return BadInput(f"The search {name!r} is damaged ({why}): copy its database again from where it was made.")


def _read(theirs: optuna.Study) -> list[FrozenTrial]:
    """Return the trials to import, all of them checked. Raises whatever Optuna raises for damaged ones, or ValueError.

    They end before the first unfinished trial: it is still running there, or was killed and is not yet marked as
    failed. The next import takes it, and those after it.
    """
    trials = theirs.trials
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise ValueError("a trial is missing")
    told = list(takewhile(lambda trial: trial.state.is_finished(), trials))
    # Taken into memory first, because Optuna checks a trial as it is added.
    scratch = optuna.create_study(storage=InMemoryStorage(), direction="maximize")
    for trial in told:
        try:
            attributes: TrialAttributes = parse(json.dumps(trial.user_attrs), TrialAttributes)
        except ValueError as error:
            raise ValueError(f"trial {trial.number}: {error}") from error
        if attributes.run_key and not re.fullmatch("[0-9a-f]{16}", attributes.run_key):
            raise ValueError(f"trial {trial.number}: its run key is none")
        scratch.add_trial(trial)
    return told


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


def _take_in(name: str, told: Sequence[FrozenTrial], study_config: StudyConfig, bundles: Path) -> int:
    """Add the trials that this machine does not have yet, and return how many were added."""
    runs = {run.config.key: run for run in all_runs()}
    for trial in told:
        _see_that_its_run_bears_it_out(name, trial, runs, bundles)
    ours = open_search(name, study_config)
    known = ours.get_trials(deepcopy=False)
    both = list(zip(known, told, strict=False))
    if any(_identity(one) != _identity(other) for one, other in both):
        raise HarnessError(
            f"The search {name!r} of this machine has other trials: it went on here and there, and one study cannot "
            f"hold both. Keep the one here, or delete it in `harness dashboard` and sync again, which brings theirs; "
            f"the runs of both are kept. To search on both, give each machine a study of its own (--study NAME)."
        )
    for trial in told[len(both) :]:
        run = runs.get(trial.user_attrs.get("run_key", ""))
        if run is not None:
            pruned = trial.user_attrs.get("pruned", "")
            trial.user_attrs["mlflow_run_id"] = tag_trial(run, ours.study_name, trial.number, pruned)
        ours.add_trial(trial)
    return len(told) - len(both)


def _see_that_its_run_bears_it_out(name: str, trial: FrozenTrial, runs: Mapping[str, RunFolder], bundles: Path) -> None:
    """Raise BadInput if the value of a trial is not the accuracy of its run, in its bundle or here, if it is there."""
    key = trial.user_attrs.get("run_key", "")
    if not key or trial.state == TrialState.FAIL:
        return
    results = [runs[key].result()] if key in runs else []
    with contextlib.suppress(BadInput):
        results.append(read_bundle(bundles / key).result)
    # Where both are there, the run here may have been trained here, with other last bits.
    measured = {result.metrics.get("accuracy", DIVERGED) for result in results if result}
    if measured and trial.value not in measured:
        raise _damaged(name, f"trial {trial.number} has the value {trial.value}, its run {key} has {min(measured)}")


def _identity(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.user_attrs.get("slot"), trial.user_attrs.get("run_key"), trial.params
