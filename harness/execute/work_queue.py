"""The work queue: waiting, running, finished and failed work, stored as trials of Optuna studies that survive a crash.

A waiting trial is either a run of an experiment, or a slot of a search, whose recipe is sampled when a worker takes
it. There is one study per experiment or search and budget, in `mlruns/optuna.db` or at `$OPTUNA_STORAGE`. A worker
that dies stops sending heartbeats; after `GRACE` seconds its trial is queued again. The run folder decides whether a
run is done, so losing the database loses no result of an experiment. The results of a search are only in the database.
"""

import contextlib
import datetime
import errno
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event

from harness.common import paths
from harness.common.databases import looked_into
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.process import identity, is_alive
from harness.common.redact import public_url
from harness.execute.queue_database import engine_options, storage_url
from harness.runs.spec import RunSpec

#: Seconds between two heartbeats of a worker, and without one until it counts as dead.
HEARTBEAT = 10
GRACE = 60

#: The reason recorded for a trial that a signal ended.
STOPPED = "stopped"


def open_study(name: str) -> optuna.Study:
    """Return the study of that name; create it if it does not exist. Raises HarnessError if the database fails."""
    with _opening() as storage:
        return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def suffix(engine: str) -> list[str]:
    """Return the last part of a study's name. A process trains with one engine, so each engine has its own studies."""
    return [] if engine == "tensorflow" else [engine]


def known_studies() -> list[str]:
    """Return the names of all studies in the database."""
    with _opening() as storage:
        return optuna.study.get_all_study_names(storage)


@contextlib.contextmanager
def _opening() -> Iterator[optuna.storages.RDBStorage]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    paths.mlruns().mkdir(parents=True, exist_ok=True)
    try:
        # One process at a time: creating the tables from several processes at once fails.
        with filelock.FileLock(paths.mlruns() / "optuna.lock"):
            named = f"OPTUNA_STORAGE={public_url(storage_url())}"
            # Optuna would write its tables between those of another application.
            with looked_into(storage_url(), {"studies"}, named, "a database of its own for Optuna", **engine_options()):
                pass
            storage = optuna.storages.RDBStorage(
                storage_url(),
                engine_kwargs=engine_options(),
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=again,
            )
            if storage_url().startswith("sqlite"):
                _one_at_a_time(storage)
            yield storage
    except BadInput:
        raise
    except Exception as error:
        denied = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        if denied or "readonly database" in str(error):
            # Nothing is damaged, and nothing is to be deleted.
            raise HarnessError(
                f"The queue at {public_url(storage_url())} cannot be written to ({first_line(error)}). `harness "
                f"dashboard` shows what is done; to go on, mend the permissions, or name a copy of {paths.mlruns()} "
                f"with $HARNESS_MLRUNS."
            ) from error
        raise HarnessError(
            f"The queue at {public_url(storage_url())} did not open ({first_line(error)}). Finished runs are safe in "
            f"{paths.mlruns() / 'runs'}. See that the database answers; a damaged {paths.mlruns() / 'optuna.db'} may "
            f"be deleted, the same command then queues again what is not done (a search begins anew)."
        ) from error


def _one_at_a_time(storage: optuna.storages.RDBStorage) -> None:
    """Make every sqlite transaction exclusive from its beginning.

    Optuna reads a trial's state and then writes it under a row lock, which sqlite does not have: two workers that do
    so at the same time would take the same trial.
    """

    def begin_explicitly(connection: Any, record: object) -> None:
        connection.isolation_level = None

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", begin_explicitly)
    event.listen(storage.engine, "begin", begin)
    storage.engine.dispose()  # close the connections that were opened without these listeners


def enqueue(study: optuna.Study, specs: Sequence[RunSpec]) -> None:
    """Queue the runs that are neither waiting nor running already for a command that is alive.

    If a worker whose command is dead is at a run, whoever takes it from the queue waits for that worker, and trains the
    run if the worker dies too.
    """
    # The lock keeps two commands for the same experiment from queueing a run twice.
    with filelock.FileLock(paths.mlruns() / "optuna.lock"):
        revive(study)
        trials = trials_in(study, TrialState.RUNNING, TrialState.WAITING)
        queued = {trial.user_attrs.get("run_key") for trial in trials if is_wanted_by_its_owner(trial)}
        owner = {f"owner_{name}": sign for name, sign in identity().items()}
        for spec in specs:
            if spec.config.key not in queued:
                attributes = {"run_key": spec.config.key, "name": spec.name, "spec": spec.to_json()}
                study.enqueue_trial({}, user_attrs=attributes | owner)


def is_cut_off(trial: FrozenTrial) -> bool:
    """Whether a trial failed because its worker was stopped or died, not because of the trial itself."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("reason", STOPPED) == STOPPED


def is_empty(study: optuna.Study) -> bool:
    """Whether a study has neither waiting nor running trials."""
    return not trials_in(study, TrialState.WAITING, TrialState.RUNNING)


def revive(study: optuna.Study) -> None:
    """Queue the trials of dead workers again."""
    for trial in trials_in(study, TrialState.RUNNING):
        # A dead process of this machine is detected at once; for other machines there is only the heartbeat. A worker
        # that died before it wrote its attributes has no heartbeat either, so its trial is failed after GRACE seconds.
        signs = _signs(trial, "worker")
        begun = trial.datetime_start or datetime.datetime.now()
        unknown = not signs and datetime.datetime.now() - begun > datetime.timedelta(seconds=GRACE)
        if unknown or not is_alive(signs):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
                again(study, trial)
    optuna.storages.fail_stale_trials(study)


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the work of a trial again, with its parameters and without the dead worker's attributes."""
    kept = ("run_key", "name", "spec", "slot", "is_baseline", *(f"owner_{name}" for name in identity()))
    attributes = {name: value for name, value in trial.user_attrs.items() if name in kept}
    # Optuna keeps the parameters that a trial was queued with in `fixed_params` until each of them is suggested.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(params, user_attrs=attributes)


def is_wanted_by_its_owner(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether the command that queued a trial is alive: if not, nobody waits for its result."""
    return is_alive(_signs(trial, "owner"))


def _signs(trial: FrozenTrial | optuna.Trial, whose: str) -> dict[str, str]:
    prefix = f"{whose}_"
    return {name.removeprefix(prefix): sign for name, sign in trial.user_attrs.items() if name.startswith(prefix)}


def trials_in(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Return the trials of a study that are in one of some states, as the database has them now."""
    return study.get_trials(deepcopy=False, states=states)


def failures(studies: Sequence[optuna.Study]) -> dict[str, str]:
    """Return why runs failed when they were last tried, as run key -> reason, for those that recorded a reason."""
    reasons = {}
    for study in studies:
        for trial in trials_in(study, TrialState.COMPLETE, TrialState.FAIL):
            reasons[trial.user_attrs.get("run_key", "")] = trial.user_attrs.get("reason", "")
    return {key: reason for key, reason in reasons.items() if reason}
