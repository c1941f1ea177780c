"""`harness worker`: take runs of experiments and trials of searches from the queue until none is left."""

from collections.abc import Callable, Mapping, Sequence

import optuna

from harness.commands.execution import in_the_terminal
from harness.common.process import is_alive
from harness.data import Dataset, load_named
from harness.engine.backend import ENGINES
from harness.execute import queue_database, work_queue, worker_loop
from harness.execute.pool import accuracy_of, run_shown
from harness.recipes import named
from harness.reporting.console import log
from harness.runs.records import Result
from harness.runs.spec import RunSpec
from harness.search.objective import join_search
from harness.search.study import recorded_config
from harness.source_hash import source_hash
from harness.tracking.mlflow_report import tell_trial
from harness.tracking.recorder import MlflowRecorder


def work(names: Sequence[str], *, probe: bool, parent: str) -> None:
    """Process the waiting trials of the named studies.

    parent: the name of the process that started this worker, or empty if a user did. When that process is dead, nobody
    waits for the work any more: the worker ends after the run it is at, and the next command goes on. Raises BadInput
    if a search was begun with other code or data than this machine has.
    """
    execution = in_the_terminal(MlflowRecorder(), probe=probe)
    datasets: dict[str, Dataset] = {}

    def data(name: str) -> Dataset:
        if name not in datasets:
            datasets[name] = load_named(name)
        return datasets[name]

    def is_wanted() -> bool:
        return not parent or is_alive({"process": parent})

    def run(spec: RunSpec) -> Result:
        if not is_wanted():
            # Between two runs of one trial. The trial is cut off, and queued again by the next command.
            raise KeyboardInterrupt
        return run_shown(spec, data(spec.config.data), execution)

    searches: dict[str, Callable[[optuna.Trial], float]] = {}
    with queue_database.explained():
        known = {name: name for name in work_queue.known_studies()}
        studies = [work_queue.open_study(named("study", known, _of_this_code(name, known))) for name in names]
        for study in studies:
            if config := recorded_config(study):
                searches[study.study_name] = join_search(study, config, data(config.data), run, tell_trial)
        if all(work_queue.is_empty(study) for study in studies):
            queued = " or ".join(f"{study.study_name!r}" for study in studies)
            log.print(f"Nothing waits in {queued}: `harness run` and `harness search` queue what is to be done.")
        worker_loop.work(
            studies,
            lambda spec: accuracy_of(run(spec)),
            lambda trial: searches[trial.study.study_name](trial),
            is_wanted=is_wanted,
        )


def _of_this_code(name: str, known: Mapping[str, str]) -> str:
    """Return the full name of a study: those of experiments end with the hash of the code (`pool.study_name`)."""
    whole = (f"{name} ({source_hash(engine)})" for engine in ENGINES)
    return name if name in known else next((each for each in whole if each in known), name)
