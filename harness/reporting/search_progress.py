"""The terminal while a search runs: what each trial brought, the best so far against the baseline, and an ETA."""

import contextlib
import time

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from harness.reporting.console import duration, log
from harness.search.study import baseline_of, best_of, finished


class SearchDisplay:
    """Watches a study: a bar in a terminal, and one plain line for every trial that ends."""

    def __init__(self, study: optuna.Study, workers: int) -> None:
        self._study, self._workers = study, workers
        self._told = {trial.number for trial in finished(study)}
        self._before = len(self._told)
        self._begin = time.monotonic()
        self._next = 0.0
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"), console=log, disable=not log.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("trials", total=None, status="")

    def __enter__(self) -> "SearchDisplay":
        going_on = f", {self._before} of them done before" if self._before else ""
        log.print(
            f"{self._study.study_name}: {self._total()} trials{going_on}"
            + (
                ""
                if not self._workers
                else f", {self._workers} workers; their logs are in mlruns/workers/, `make dashboard` shows the study"
            ),
            soft_wrap=True,
        )
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._next = 0.0
        with contextlib.suppress(Exception):  # a database that no longer answers is another's to report
            self.update()
        self._progress.stop()

    def update(self) -> None:
        """Look which trials have ended since the last time."""
        if time.monotonic() < self._next:
            return
        ended = finished(self._study)
        status = self._status(ended)
        for trial in ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                log.print(f"{len(self._told):>4}/{self._total()}  {_outcome(trial)}  {status}", soft_wrap=True)
        self._progress.update(self._task, completed=len(ended), total=self._total(), status=status)
        # Reading a large study takes a while; a trial takes longer.
        self._next = time.monotonic() + 2

    def _total(self) -> int:
        slots = {trial.user_attrs.get("slot") for trial in self._study.get_trials(deepcopy=False)}
        return len(slots - {None})

    def _status(self, ended: list[FrozenTrial]) -> str:
        best, baseline = best_of(ended), baseline_of(ended)
        words = [f"best {best.value:.4f} (trial {best.number})"] if best else []
        words += [f"baseline {baseline.value:.4f}"] if baseline else []
        for state, word in ((TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
            count = sum(trial.state == state for trial in ended)
            words += [f"{count} {word}"] if count else []
        done, left = len(ended) - self._before, self._total() - len(ended)
        if done and left:
            words.append(f"ETA {duration((time.monotonic() - self._begin) / done * left)}")
        return " · ".join(words)


def _outcome(trial: FrozenTrial) -> str:
    name = "baseline" if trial.user_attrs.get("is_baseline") else f"trial {trial.number}"
    if "diverged" in trial.user_attrs:
        return f"{name}: diverged ({trial.user_attrs['diverged']})"
    if trial.state == TrialState.FAIL:
        return f"{name}: failed ({trial.user_attrs['reason']})"
    if trial.state == TrialState.PRUNED:
        accuracy = list(trial.intermediate_values.values())[-1]
        return f"{name}: pruned at {accuracy:.4f} after a run of {trial.user_attrs['epochs']} epochs"
    return f"{name}: {trial.value:.4f}"
