"""The loop of a worker: take waiting trials from the queue and do their work, or record why not, until none is left."""

import contextlib
import time
from collections.abc import Callable, Sequence

import optuna
from optuna.trial import TrialState

from harness.common.errors import HarnessError
from harness.common.process import identity
from harness.common.redact import redacted
from harness.common.signals import allowed, deferred
from harness.execute.queue_database import CannotGoOn, is_of_the_database
from harness.execute.work_queue import STOPPED, is_wanted_by_its_owner, revive, trials_in
from harness.runs.spec import RunSpec, run_spec_from_json

#: After this many failed search trials in a row, the worker is assumed to be at fault, not the trials.
MOST_FAILURES = 3


class NothingLeft(Exception):
    """Another worker has taken the last waiting trial."""


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
    objective = _Objective(train, search)
    with deferred():
        while is_wanted():
            waiting = next((study for study in studies if trials_in(study, TrialState.WAITING)), None)
            if waiting is not None:
                # Raised if another worker took this one for dead, whatever became of it (AssertionError: it ended
                # well). What `train` raises never gets here. The result is in the run folder.
                given_up = (ValueError, optuna.exceptions.UpdateFinishedTrialError, AssertionError)
                with contextlib.suppress(*given_up):
                    waiting.optimize(objective, n_trials=1, catch=(Exception,))
                if objective.interrupted is not None:
                    raise objective.interrupted
            elif any(trials_in(study, TrialState.RUNNING) for study in studies):
                with allowed():
                    time.sleep(1)
                for study in studies:
                    revive(study)
            else:
                return


class _Objective:
    """What Optuna calls with each trial that this worker takes. It returns the trial's accuracy, or raises."""

    def __init__(self, train: Callable[[RunSpec], float], search: Callable[[optuna.Trial], float] | None) -> None:
        self._train = train
        self._search = search
        self._failed_in_a_row = 0
        #: The signal that ended a trial. Optuna takes it for a failure of the trial, and would go on.
        self.interrupted: KeyboardInterrupt | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        text = trial.user_attrs.get("spec")
        if text is None and "slot" not in trial.user_attrs:
            # Two workers saw the same last waiting trial; Optuna created this new, empty one for the slower worker.
            raise NothingLeft("another worker took the last trial")
        if not is_wanted_by_its_owner(trial):
            raise optuna.TrialPruned("the command that queued it was stopped")
        try:
            for name, sign in identity().items():
                trial.set_user_attr(f"worker_{name}", sign)
            if text is not None:
                return self._train(run_spec_from_json(text))
            assert self._search is not None
            accuracy = self._search(trial)
        except optuna.TrialPruned:
            self._failed_in_a_row = 0
            raise
        except (Exception, KeyboardInterrupt) as error:
            self._record(error, trial, of_a_search=text is None)
            raise
        self._failed_in_a_row = 0
        return accuracy

    def _record(self, error: Exception | KeyboardInterrupt, trial: optuna.Trial, *, of_a_search: bool) -> None:
        """Record why a trial failed. Raises CannotGoOn if that is not the trial's fault and would lose it."""
        if isinstance(error, KeyboardInterrupt):
            self.interrupted = error
        elif of_a_search:
            self._failed_in_a_row += 1
            # A full disk, a server that is down or a lost GPU would make every trial of a search fail, and a failed
            # trial is lost. A run of an experiment is not lost, as the next command queues it again.
            ours = isinstance(error, HarnessError | OSError | MemoryError)
            if ours or self._failed_in_a_row >= MOST_FAILURES:
                raise CannotGoOn from error
        if is_of_the_database(error):
            raise CannotGoOn from error
        trial.set_user_attr("reason", STOPPED if self.interrupted else redacted(str(error)) or type(error).__name__)
