"""Train every run that is not done yet: a single run in this process, several through the queue.

Offline there is no queue: this process trains the runs one after the other.
"""

import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.signals import allowed
from harness.data import Dataset
from harness.execute.run_one import Execution, is_done, run_one
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import RunSpec

if TYPE_CHECKING:
    import optuna

    from harness.execute import queue_database, work_queue, worker_loop, workers
else:
    # Optuna is slow to import, and a single run needs no queue.
    queue_database = lazy_import("harness.execute.queue_database")
    work_queue = lazy_import("harness.execute.work_queue")
    worker_loop = lazy_import("harness.execute.worker_loop")
    workers = lazy_import("harness.execute.workers")


class Diverged(Exception):
    """A run diverged, so it has no accuracy. The queue records the message as the reason."""


def train_all(specs: Sequence[RunSpec], dataset: Dataset, execution: Execution) -> set[str]:
    """Train the runs that are not done, and return their run keys.

    Raises BadInput if workers are asked for offline, and HarnessError if a run is not done at the end: it has no
    result, or its record is not complete.
    """
    if execution.recorder.offline and (execution.workers or execution.slurm is not None):
        raise BadInput("--offline does not go with --workers or --slurm: workers meet in Optuna's database.")
    # If several experiments share a run, the first one trains it. A dict keeps the last value, hence `reversed`.
    distinct = {spec.config.key: spec for spec in reversed(specs)}
    todo = [spec for spec in specs if distinct[spec.config.key] is spec and not is_done(spec, execution.recorder)]
    failed: Mapping[str, str] = {}
    if len(todo) == 1 and execution.slurm is None:
        with execution.displays.run(todo[0].name, todo[0].config) as display:
            run_one(todo[0], dataset, execution, [display])
    elif todo and execution.recorder.offline:
        failed = _in_turn(todo, dataset, execution)
    elif todo:
        failed = _through_the_queue(todo, dataset, execution)
    # Callers go on until all is done: without this, a record that cannot be completed would be tried for ever.
    if left := [spec for spec in todo if not is_done(spec, execution.recorder)]:
        reasons = "\n".join(f"  {spec.name}: {failed.get(spec.config.key) or _lack(spec)}" for spec in left[:10])
        raise HarnessError(
            f"{len(left)} of {len(todo)} runs are not done:\n{reasons}\nWhat is done is kept. When the reason is "
            f"mended, the same command (without --fresh) does what is missing."
        )
    return {spec.config.key for spec in todo}


def accuracy_of(result: Result) -> float:
    """Return the accuracy of a run. Raises Diverged if it has none."""
    if result.status == "diverged":
        raise Diverged(f"diverged: {result.reason}")
    return result.metrics["accuracy"]


def _in_turn(specs: Sequence[RunSpec], dataset: Dataset, execution: Execution) -> dict[str, str]:
    """Train runs one after the other; return why some of them failed, as run key -> reason.

    A run that fails does not stop the others. A run that diverges has a result and has not failed. The runs go seed by
    seed: if time runs out, every variant has about as many runs as the others.
    """
    failed: dict[str, str] = {}
    with execution.displays.runs(specs, 0) as display:
        for spec in sorted(specs, key=_place):
            try:
                run_one(spec, dataset, execution)
            except Exception as error:
                failed[spec.config.key] = first_line(error)
                # Nobody may be watching an offline machine, and the first line of the error is not enough to debug it.
                file = RunFolder(spec.config).path / "error.txt"
                write_atomically(file, "".join(traceback.format_exception(error)).encode())
            display.update()
    return failed


def _place(spec: RunSpec) -> tuple[int, str]:
    """Return the key that sorts runs by seed, and runs of one seed that share a compiled program beside each other."""
    return spec.config.seed, repr((spec.config.network, spec.config.recipe.optimizer))


def _through_the_queue(specs: Sequence[RunSpec], dataset: Dataset, execution: Execution) -> dict[str, str]:
    """Train runs through the queue; return why some of them failed, as run key -> reason.

    A run that fails does not stop the others.
    """
    names = list(dict.fromkeys(study_name(spec) for spec in specs))
    with queue_database.explained():
        studies = {name: work_queue.open_study(name) for name in names}
        for name, study in studies.items():
            work_queue.enqueue(study, [spec for spec in specs if study_name(spec) == name])
        count = min(
            execution.workers or workers.default_workers(len(specs), specs[0].config.recipe.threads), len(specs)
        )
        if count == 1 and execution.slurm is None:
            _work_here(list(studies.values()), dataset, specs, execution)
        else:
            with execution.displays.runs(specs, count) as display:
                workers.start_workers(names, count, display.update, probe=execution.probe, slurm=execution.slurm)
        return work_queue.failures(list(studies.values()))


def study_name(spec: RunSpec) -> str:
    """Return the name of the study in which a run is queued.

    It ends with the code that planned the run: a checkout with other code cannot train it, and has its own study.
    """
    tuning = ["tuning"] if spec.phase == "tuning" else []
    engine = work_queue.suffix(spec.config.engine)
    return " ".join(
        [spec.experiment, spec.recipe, spec.budget, spec.config.data, *tuning, *engine, f"({spec.config.source})"]
    )


def _work_here(
    studies: Sequence["optuna.Study"], dataset: Dataset, specs: Sequence[RunSpec], execution: Execution
) -> None:
    """Train the queued runs in this process and show each of them."""
    place = {spec.config.key: number for number, spec in enumerate(specs, start=1)}

    def train(spec: RunSpec) -> float:
        number = place.get(spec.config.key)
        suffix = f" ({number} of {len(specs)})" if number and len(specs) > 1 else ""
        return accuracy_of(run_shown(spec, dataset, execution, suffix))

    worker_loop.work(studies, train)


def run_shown(spec: RunSpec, dataset: Dataset, execution: Execution, suffix: str = "") -> Result:
    """Train a run from the queue and show it. Signals may interrupt it."""
    with execution.displays.run(spec.name + suffix, spec.config) as display, allowed():
        # Another worker may be training the same run for another experiment: wait for it and use its result.
        return run_one(spec, dataset, execution, [display], wait=True)


def _lack(spec: RunSpec) -> str:
    """Return what a run lacks whose training ended without an error."""
    if damage := RunFolder(spec.config).damage():
        return next(iter(damage.values()))
    return "its worker died" if RunFolder(spec.config).result() is None else "its record lacks its end or its model"
