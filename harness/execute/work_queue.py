"""The work queue: waiting, running, finished and failed work, stored as trials of Optuna studies that survive a crash.

A waiting trial is either a run of an experiment, or a slot of a search, whose recipe is sampled when a worker takes
it. There is one study per experiment or search and budget, in `mlruns/optuna.db` or at `$OPTUNA_STORAGE`. A worker
that dies stops sending heartbeats; after `GRACE` seconds its trial is queued again. The run folder decides whether a
run is done, so losing the database loses no result of an experiment. The results of a search are only in the database.
"""

import contextlib
import datetime
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import filelock
import optuna
from optuna.storages._rdb.models import NOT_FOUND_MSG
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import SQLAlchemyError

from harness.common import paths
from harness.common.databases import looked_into
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.process import identity, is_alive
from harness.common.redact import is_ambiguous, public_url, redacted
from harness.common.signals import allowed, deferred
from harness.runs.spec import RunSpec, run_spec_from_json

#: Seconds between two heartbeats of a worker, and without one until it counts as dead.
HEARTBEAT = 10
GRACE = 60

#: Seconds to wait for a PostgreSQL server that takes the connection and says nothing.
SILENCE = 10

#: After this many failed search trials in a row, the worker is assumed to be at fault, not the trials.
MOST_FAILURES = 3

#: The reason recorded for a trial that a signal ended.
STOPPED = "stopped"

#: What Optuna raises if the database fails.
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


class NothingLeft(Exception):
    """Another worker has taken the last waiting trial."""


class CannotGoOn(BaseException):
    """This worker cannot continue, for a reason that is not the trial's fault.

    The trial is queued again after the worker has exited. Not a subclass of `Exception`, because Optuna would then
    count the trial as failed.
    """


def storage_url() -> str:
    """Return the URL of the queue's database: `$OPTUNA_STORAGE`, or `mlruns/optuna.db`.

    Not MLflow's database: MLflow and Optuna both keep a table called `alembic_version`. Raises BadInput if it is no URL
    of a database.
    """
    chosen = os.environ.get("OPTUNA_STORAGE", "").strip() or paths.sqlite_url(paths.mlruns() / "optuna.db")
    try:
        url = make_url(chosen)
        known = not is_ambiguous(chosen) and url.get_backend_name() in ("sqlite", "postgresql", "postgres", "mysql")
        # Workers are processes of their own, and would not see a database in memory.
        known = known and url.database not in (None, "", ":memory:")
    except (SQLAlchemyError, ValueError):
        known = False
    if not known:
        raise BadInput(
            f"OPTUNA_STORAGE={public_url(chosen)} is not the URL of a database: write it as "
            f"postgresql://user:password@host/database (with %40 for an @ in the password) or as "
            f"sqlite:////path/to/file.db. Files with a journal and Redis will not do: workers that die are only found "
            f"in a database."
        )
    # SQLAlchemy's default PostgreSQL driver is not installed here, and it no longer knows the shorter name.
    return re.sub("^postgres(ql)?://", "postgresql+psycopg://", chosen)


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
        raise HarnessError(
            f"The queue at {public_url(storage_url())} did not open ({first_line(error)}). Finished runs are safe in "
            f"{paths.mlruns() / 'runs'}. See that the database answers; a damaged mlruns/optuna.db may be deleted, the "
            f"same command then queues again what is not done (a search begins anew)."
        ) from error


def engine_options() -> dict[str, Any]:
    """Return SQLAlchemy's options for the queue's database."""
    url = make_url(storage_url())
    if url.get_backend_name() == "sqlite":
        # Many workers wait for each other on one file, for longer than its default timeout allows.
        return {"connect_args": {"timeout": 60}}
    # psycopg would wait more than two minutes for a server that does not answer.
    postgresql = url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query
    # A connection may have been closed since its last use.
    return {"pool_pre_ping": True} | ({"connect_args": {"connect_timeout": SILENCE}} if postgresql else {})


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
        _revive(study)
        trials = _trials(study, TrialState.RUNNING, TrialState.WAITING)
        queued = {trial.user_attrs.get("run_key") for trial in trials if _is_wanted(trial)}
        owner = {f"owner_{name}": sign for name, sign in identity().items()}
        for spec in specs:
            if spec.config.key not in queued:
                attributes = {"run_key": spec.config.key, "name": spec.name, "spec": spec.to_json()}
                study.enqueue_trial({}, user_attrs=attributes | owner)


def work(
    studies: Sequence[optuna.Study],
    train: Callable[[RunSpec], float],
    search: Callable[[optuna.Trial], float] | None = None,
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Take trials from the studies until none is waiting and none is running, here or in another worker.

    It waits for running trials, because a worker that dies leaves its trial to the others.

    train: trains a run and returns its accuracy; an exception is recorded as the reason of the failure and does not
    stop the other runs. search: the same for a trial of a search. Signals are deferred during database access, so both
    functions must use `harness.common.signals.allowed` where a signal may interrupt them. is_wanted: asked before each
    trial; it ends the work. Raises CannotGoOn.
    """

    failed_in_a_row = 0
    interrupted: list[KeyboardInterrupt] = []

    def objective(trial: optuna.Trial) -> float:
        nonlocal failed_in_a_row
        text = trial.user_attrs.get("spec")
        if text is None and "slot" not in trial.user_attrs:
            # Two workers saw the same last waiting trial; Optuna created this new, empty one for the slower worker.
            raise NothingLeft("another worker took the last trial")
        if not _is_wanted(trial):
            raise optuna.TrialPruned("the command that queued it was stopped")
        try:
            for name, sign in identity().items():
                trial.set_user_attr(f"worker_{name}", sign)
            if text is not None:
                return train(run_spec_from_json(text))
            assert search is not None
            accuracy = search(trial)
            failed_in_a_row = 0
            return accuracy
        except optuna.TrialPruned:
            failed_in_a_row = 0
            raise
        except (Exception, KeyboardInterrupt) as error:
            failed_in_a_row += text is None
            # A full disk, a server that is down or a lost GPU would make every trial of a search fail, and a failed
            # trial is lost. A run of an experiment is not lost, as the next command queues it again.
            ours = isinstance(error, HarnessError | OSError | MemoryError) or failed_in_a_row >= MOST_FAILURES
            if _is_of_the_database(error) or (text is None and ours and isinstance(error, Exception)):
                raise CannotGoOn from error
            if isinstance(error, KeyboardInterrupt):
                interrupted.append(error)
            trial.set_user_attr("reason", STOPPED if interrupted else redacted(str(error)) or type(error).__name__)
            raise

    with deferred():
        while is_wanted():
            waiting = next((study for study in studies if _trials(study, TrialState.WAITING)), None)
            if waiting is not None:
                # Raised if another worker took this one for dead, whatever became of it (AssertionError: it ended
                # well). What `train` raises never gets here. The result is in the run folder.
                given_up = (ValueError, optuna.exceptions.UpdateFinishedTrialError, AssertionError)
                with contextlib.suppress(*given_up):
                    waiting.optimize(objective, n_trials=1, catch=(Exception,))
                if interrupted:
                    raise interrupted[0]
            elif any(_trials(study, TrialState.RUNNING) for study in studies):
                with allowed():
                    time.sleep(1)
                for study in studies:
                    _revive(study)
            else:
                return


def is_cut_off(trial: FrozenTrial) -> bool:
    """Whether a trial failed because its worker was stopped or died, not because of the trial itself."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("reason", STOPPED) == STOPPED


def is_empty(study: optuna.Study) -> bool:
    """Whether a study has neither waiting nor running trials."""
    return not _trials(study, TrialState.WAITING, TrialState.RUNNING)


def _revive(study: optuna.Study) -> None:
    """Queue the trials of dead workers again."""
    for trial in _trials(study, TrialState.RUNNING):
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


def _is_wanted(trial: FrozenTrial | optuna.Trial) -> bool:
    return is_alive(_signs(trial, "owner"))


def _signs(trial: FrozenTrial | optuna.Trial, whose: str) -> dict[str, str]:
    prefix = f"{whose}_"
    return {name.removeprefix(prefix): sign for name, sign in trial.user_attrs.items() if name.startswith(prefix)}


def _trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def failures(studies: Sequence[optuna.Study]) -> dict[str, str]:
    """Return why runs failed when they were last tried, as run key -> reason, for those that recorded a reason."""
    reasons = {}
    for study in studies:
        for trial in _trials(study, TrialState.COMPLETE, TrialState.FAIL):
            reasons[trial.user_attrs.get("run_key", "")] = trial.user_attrs.get("reason", "")
    return {key: reason for key, reason in reasons.items() if reason}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a database error or CannotGoOn into a HarnessError that says what is safe and what to do."""
    try:
        yield
    except HarnessError:
        raise
    except (Exception, CannotGoOn) as error:
        cause: BaseException = (isinstance(error, CannotGoOn) and error.__cause__) or error
        if isinstance(cause, HarnessError):
            raise cause from None
        # Optuna's way of tidying up after an error of the database may end in an error of its own.
        failure = next(filter(_is_of_the_database, _chain(cause)), None)
        if failure is None and not isinstance(error, CannotGoOn):
            raise
        if failure is None:
            raise HarnessError(
                f"This worker cannot go on ({type(cause).__name__}: {first_line(cause)}). What it finished is kept and "
                f"what it was at waits again: mend what is wrong here, and give the same command again."
            ) from error
        while failure.__cause__ is not None:
            failure = failure.__cause__
        raise HarnessError(
            f"The queue at {public_url(storage_url())} did not answer ({first_line(failure)}). Every finished "
            f"epoch is safe in {paths.mlruns() / 'runs'}: give the same command again."
        ) from error


def _is_of_the_database(error: BaseException) -> bool:
    """Whether Optuna raised this because its database fails, or has lost a study or a trial."""
    lost = isinstance(error, KeyError) and error.args == (NOT_FOUND_MSG,)
    return lost or isinstance(error, DATABASE_ERRORS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and those that it was raised for, or while handling."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
