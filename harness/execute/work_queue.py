"""The queue: work waiting, running, done and failed, as the trials of Optuna studies that survive any crash.

A trial that waits is a run of an experiment, or a slot of a search whose spec is sampled when a worker takes it. One
study for each experiment or search and budget, in `mlruns/optuna.db` or at `$OPTUNA_STORAGE`. A worker that dies stops
sending heartbeats; after `GRACE` seconds its trial waits again. Whether a spec is done is decided by its run's folder,
so losing the database loses no result of an experiment; what a search has found stands nowhere else.
"""

import contextlib
import datetime
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import SQLAlchemyError

from harness.common import paths
from harness.common.errors import HarnessError, first_line
from harness.common.process import identity, is_alive
from harness.common.signals import allowed, deferred
from harness.runs.spec import RunSpec, run_spec_from_json

#: In seconds.
HEARTBEAT = 10
GRACE = 60

#: So many trials of a search that fail one after another are the worker's fault, not theirs.
MOST_FAILURES = 3

#: The reason of a trial that a signal ended.
STOPPED = "stopped"

#: What Optuna raises where the database fails it.
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


class NothingLeft(Exception):
    """A worker came too late for the last trial."""


class CannotGoOn(BaseException):
    """What keeps this worker from working is no fault of the trial, which another one will take up once this is gone.

    No `Exception`: Optuna would count the trial as a failed one.
    """


def storage_url() -> str:
    """`$OPTUNA_STORAGE`, or the database in `mlruns/`: not MLflow's, both keep an `alembic_version` table."""
    chosen = os.environ.get("OPTUNA_STORAGE") or f"sqlite:///{paths.mlruns() / 'optuna.db'}"
    # SQLAlchemy would take the driver that we do not have.
    return chosen.replace("postgresql://", "postgresql+psycopg://", 1)


def shown_url() -> str:
    """The same as it may be shown: without the password."""
    return make_url(storage_url()).render_as_string(hide_password=True)


def open_study(name: str) -> optuna.Study:
    """The study of that name, made if need be. Raises HarnessError when the database does not answer."""
    with _opening() as storage:
        return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def suffix(engine: str) -> list[str]:
    """What the name of a study ends with: a process trains with one engine, so their work waits apart."""
    return [] if engine == "tensorflow" else [engine]


def known_studies() -> list[str]:
    """The names of the studies that there are."""
    with _opening() as storage:
        return optuna.study.get_all_study_names(storage)


@contextlib.contextmanager
def _opening() -> Iterator[optuna.storages.RDBStorage]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    paths.mlruns().mkdir(parents=True, exist_ok=True)
    try:
        # One process at a time: several that create the tables together fail.
        with filelock.FileLock(paths.mlruns() / "optuna.lock"):
            storage = optuna.storages.RDBStorage(
                storage_url(),
                # Many workers on one sqlite file wait for each other; the default gives up after 5 s. A connection
                # to a server may have been cut since it was last used.
                engine_kwargs={"connect_args": {"timeout": 60}}
                if storage_url().startswith("sqlite")
                else {"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=again,
            )
            if storage_url().startswith("sqlite"):
                _one_at_a_time(storage)
            yield storage
    except Exception as error:
        raise HarnessError(
            f"The queue at {shown_url()} did not open ({first_line(error)}). Finished runs are safe in "
            f"{paths.mlruns() / 'runs'}. See that the database answers; a damaged mlruns/optuna.db may be deleted, the "
            f"same command then queues again what is not done (a search begins anew)."
        ) from error


def _one_at_a_time(storage: optuna.storages.RDBStorage) -> None:
    """Let each transaction have the sqlite database to itself from its beginning.

    Optuna reads a trial's state, and then writes it, under a lock that sqlite does not know: two workers that do so
    together would take the same trial.
    """

    def begin_explicitly(connection: Any, record: object) -> None:
        connection.isolation_level = None

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", begin_explicitly)
    event.listen(storage.engine, "begin", begin)
    storage.engine.dispose()  # of the connections that were made before


def enqueue(study: optuna.Study, specs: Sequence[RunSpec]) -> None:
    """Let the runs wait that neither wait nor run already."""
    # Two commands for one experiment must not queue a run twice.
    with filelock.FileLock(paths.mlruns() / "optuna.lock"):
        _revive(study)
        trials = _trials(study, TrialState.RUNNING) + [t for t in _trials(study, TrialState.WAITING) if _is_wanted(t)]
        queued = {trial.user_attrs.get("run_key") for trial in trials}
        owner = {f"owner_{name}": sign for name, sign in identity().items()}
        for spec in specs:
            if spec.config.key not in queued:
                attributes = {"run_key": spec.config.key, "name": spec.name, "spec": spec.to_json()}
                study.enqueue_trial({}, user_attrs=attributes | owner)


def work(
    studies: Sequence[optuna.Study],
    train: Callable[[RunSpec], float],
    search: Callable[[optuna.Trial], float] | None = None,
) -> None:
    """Work until no trial waits and none runs, here or in another worker: one that dies may leave its own.

    train: brings a run to its end and returns its accuracy; what it raises is recorded as the reason of the failure
    and does not stop the others. search: the same for a trial of a search. Both have to let signals through
    (`interrupts.allowed`) where they may interrupt: they wait while the database is spoken to. Raises CannotGoOn.
    """

    failed_in_a_row = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal failed_in_a_row
        text = trial.user_attrs.get("spec")
        if text is None and "slot" not in trial.user_attrs:
            # Two workers saw the last trial wait, and Optuna made a new one for the one that came too late.
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
            # A full disk, a server that is down or a lost GPU fails every trial of a search, and a trial is lost by
            # failing; a spec is not, as the next command queues it again.
            ours = isinstance(error, HarnessError | OSError | MemoryError) or failed_in_a_row >= MOST_FAILURES
            if isinstance(error, DATABASE_ERRORS) or (text is None and ours and isinstance(error, Exception)):
                raise CannotGoOn from error
            stopped = isinstance(error, KeyboardInterrupt)
            trial.set_user_attr("reason", STOPPED if stopped else str(error) or type(error).__name__)
            raise

    with deferred():
        while True:
            waiting = next((study for study in studies if _trials(study, TrialState.WAITING)), None)
            if waiting is not None:
                with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                    # Raised where another worker gave this one up for dead; the result is in the run's folder still.
                    waiting.optimize(objective, n_trials=1, catch=(Exception,))
            elif any(_trials(study, TrialState.RUNNING) for study in studies):
                with allowed():
                    time.sleep(1)
                for study in studies:
                    _revive(study)
            else:
                return


def is_cut_off(trial: FrozenTrial) -> bool:
    """Whether a trial failed because its worker was stopped or died, and not of itself."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("reason", STOPPED) == STOPPED


def is_empty(study: optuna.Study) -> bool:
    """Whether nothing waits and nothing runs in a study."""
    return not _trials(study, TrialState.WAITING, TrialState.RUNNING)


def _revive(study: optuna.Study) -> None:
    """Let the trials of dead workers wait again."""
    for trial in _trials(study, TrialState.RUNNING):
        # On this machine a dead process is known at once; of others only the heartbeat speaks. A worker that died
        # before it left any sign has no heartbeat either.
        signs = _signs(trial, "worker")
        begun = trial.datetime_start or datetime.datetime.now()
        unknown = not signs and datetime.datetime.now() - begun > datetime.timedelta(seconds=GRACE)
        if unknown or not is_alive(signs):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
                again(study, trial)
    optuna.storages.fail_stale_trials(study)


def again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Let the work of a trial wait once more, with its parameters and without the dead worker's signs of life."""
    kept = ("run_key", "name", "spec", "slot", "is_baseline", *(f"owner_{name}" for name in identity()))
    attributes = {name: value for name, value in trial.user_attrs.items() if name in kept}
    # Those that it was queued with stand apart until each is asked for.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(params, user_attrs=attributes)


def _is_wanted(trial: FrozenTrial | optuna.Trial) -> bool:
    return is_alive(_signs(trial, "owner"))


def _signs(trial: FrozenTrial | optuna.Trial, whose: str) -> dict[str, str]:
    prefix = f"{whose}_"
    return {name.removeprefix(prefix): sign for name, sign in trial.user_attrs.items() if name.startswith(prefix)}


def _trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def failures(studies: Sequence[optuna.Study], specs: Sequence[RunSpec]) -> dict[str, str]:
    """Why runs have no result, where one of their trials says so: run key -> reason."""
    missing = {spec.config.key for spec in specs}
    reasons = {}
    for study in studies:
        for trial in study.get_trials(deepcopy=False):
            key = trial.user_attrs.get("run_key")
            if key in missing and "reason" in trial.user_attrs:
                reasons[key] = trial.user_attrs["reason"]
    return reasons


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say of a queue that does not answer, or of a worker that cannot go on, what is safe and what to do."""
    try:
        yield
    except (*DATABASE_ERRORS, CannotGoOn) as error:
        cause: BaseException = (isinstance(error, CannotGoOn) and error.__cause__) or error
        if isinstance(cause, HarnessError):
            raise cause from None
        if not isinstance(cause, DATABASE_ERRORS):
            raise HarnessError(
                f"This worker cannot go on ({type(cause).__name__}: {first_line(cause)}). What it finished is kept and "
                f"what it was at waits again: mend what is wrong here, and give the same command again."
            ) from error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise HarnessError(
            f"The queue at {shown_url()} did not answer ({first_line(cause)}). Every finished "
            f"epoch is safe in {paths.mlruns() / 'runs'}: give the same command again."
        ) from error
