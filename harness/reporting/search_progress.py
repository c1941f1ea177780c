"""The terminal while a search runs: what each trial brought, the best so far against the baseline, and an ETA."""

import contextlib
import time

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.common import paths
from harness.reporting.console import duration, log
from harness.reporting.status_line import StatusLine
from harness.search.study import baseline_of, best_of, finished, planned


class SearchDisplay:
    """Watches a study: a bar in a terminal, and one plain line for every trial that ends."""

    def __init__(self, study: optuna.Study, workers: int) -> None:
        self._study, self._workers = study, workers
        self._told = {trial.number for trial in finished(study)}
        self._before = len(self._told)
        self._begin = time.monotonic()
        self._next = 0.0
        self._status = StatusLine()

    def __enter__(self) -> "SearchDisplay":
        going_on = f", {self._before} of them done before" if self._before else ""
        log.print(
            f"{self._study.study_name}: {self._total()} trials{going_on}"
            + (
                ""
                if not self._workers
                else f", {self._workers} workers; their logs are in {paths.mlruns() / 'workers'}, `make dashboard` "
                f"shows the study"
            ),
        )
        self._status.__enter__()
        self._status.show("loading and compiling")
        return self

    def __exit__(self, *exception: object) -> None:
        self._next = 0.0
        with contextlib.suppress(Exception):  # a database that no longer answers is another's to report
            self.update()
        self._status.__exit__(*exception)

    def update(self) -> None:
        """Look which trials have ended since the last time."""
        if time.monotonic() < self._next:
            return
        ended = finished(self._study)
        said = self._said(ended)
        for trial in ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                log.print(f"{len(self._told):>4}/{self._total()}  {_outcome(trial)}  {' · '.join(said)}")
        if len(ended) > self._before:
            share = len(ended) / self._total()
            self._status.show(f"{len(ended)}/{self._total()} trials", *said, share=share)
        # Reading a large study takes a while; a trial takes longer.
        self._next = time.monotonic() + 2

    def _total(self) -> int:
        return planned(self._study)

    def _said(self, ended: list[FrozenTrial]) -> list[str]:
        """How long it will take, the best so far against the baseline, and how many trials brought nothing."""
        best, baseline = best_of(ended), baseline_of(ended)
        done, left = len(ended) - self._before, self._total() - len(ended)
        words = [f"ETA {duration((time.monotonic() - self._begin) / done * left)}"] if done and left else []
        words += [f"best {best.value:.4f} (trial {best.number})"] if best else []
        words += [f"baseline {baseline.value:.4f}"] if baseline else []
        for state, word in ((TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
            count = sum(trial.state == state for trial in ended)
            words += [f"{count} {word}"] if count else []
        return words


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
