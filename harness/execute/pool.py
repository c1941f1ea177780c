"""Work from the queue, done by this process or by workers of it: runs of experiments, and trials of searches."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
import psutil

from harness.common import paths
from harness.common.errors import HarnessError, first_line
from harness.common.hardware import gpus, has_gpu
from harness.common.signals import allowed
from harness.data import Dataset, load
from harness.execute import work_queue as queue
from harness.execute.run_one import run_one
from harness.execute.slurm import work_through
from harness.execute.train_all import incomplete
from harness.plan import RunSpec
from harness.recipes import named
from harness.reporting.progress import RunDisplay, RunsDisplay
from harness.runs.folder import Result, RunFolder
from harness.search.objective import join_search
from harness.search.study import recorded_config

#: Memory of one worker, in bytes, with room to spare: what `make bench` measures is under 3 GB.
WORKER_MEMORY = 3 * 1024**3

#: Seconds that a worker gets to end its run in good order.
PATIENCE = 60


class Diverged(Exception):
    """A run that ended without an accuracy: its reason goes into the queue."""


def through_the_queue(
    specs: Sequence[RunSpec], dataset: Dataset, workers: int | None, *, probe: bool, slurm: str | None = None
) -> None:
    """Bring runs to their end. One that fails does not stop the others; the HarnessError at the end names it."""
    names = list(dict.fromkeys(study_name(spec) for spec in specs))
    with explained():
        studies = {name: queue.open_study(name) for name in names}
        for name, study in studies.items():
            queue.enqueue(study, [spec for spec in specs if study_name(spec) == name])
        count = min(workers or default_workers(len(specs)), len(specs))
        if count == 1 and slurm is None:
            _work_here(list(studies.values()), dataset, specs, probe=probe)
        else:
            with RunsDisplay(specs, count) as display:
                start_workers(names, count, display.update, probe=probe, slurm=slurm)
        missing = [spec for spec in specs if RunFolder(spec.config).result() is None]
        failed = queue.failures(list(studies.values()), missing) if missing else {}
    if missing:
        raise incomplete({spec.name: failed.get(spec.config.key, "its worker died") for spec in missing}, len(specs))


def study_name(spec: RunSpec) -> str:
    """Where a run waits."""
    tuning = ["tuning"] if spec.phase == "tuning" else []
    return " ".join(
        [spec.experiment, spec.recipe, spec.budget, spec.config.data, *tuning, *queue.suffix(spec.config.engine)]
    )


def default_workers(count: int) -> int:
    """One worker on a GPU, and for a few runs; else one per core, as small steps leave two cores half idle."""
    cores = len(_cores())
    if has_gpu() or count < 2 * cores:
        return 1
    return max(1, min(cores, int(psutil.virtual_memory().available // WORKER_MEMORY)))


def _work_here(studies: Sequence[optuna.Study], dataset: Dataset, specs: Sequence[RunSpec], *, probe: bool) -> None:
    """Work through the queue in this process, showing each run."""
    place = {spec.config.key: number for number, spec in enumerate(specs, start=1)}

    def train(spec: RunSpec) -> float:
        number = place.get(spec.config.key)
        suffix = f" ({number} of {len(specs)})" if number and len(specs) > 1 else ""
        with RunDisplay(spec.name + suffix, spec.config) as display:
            return _accuracy(_run(spec, dataset, display, probe))

    queue.work(studies, train)


def join(names: Sequence[str], *, probe: bool) -> None:
    """`harness worker`: work through some studies, until nothing waits in them.

    Raises BadInput where a search was begun with other code or data than those here.
    """
    datasets: dict[str, Dataset] = {}

    def data(name: str) -> Dataset:
        if name not in datasets:
            datasets[name] = load("digits" if name == "digits" else None)
        return datasets[name]

    def run(spec: RunSpec) -> Result:
        with RunDisplay(spec.name, spec.config) as display:
            return _run(spec, data(spec.config.data), display, probe)

    searches: dict[str, Callable[[optuna.Trial], float]] = {}
    with explained():
        known = {name: name for name in queue.known_studies()}
        studies = [queue.open_study(named("study", known, name)) for name in names]
        for study in studies:
            terms = recorded_config(study)
            if terms:
                searches[study.study_name] = join_search(study, terms, data(terms.data), run)
        queue.work(studies, lambda spec: _accuracy(run(spec)), lambda trial: searches[trial.study.study_name](trial))


def search_here(study: optuna.Study, dataset: Dataset, watch: Callable[[], None]) -> None:
    """Work through a search in this process. watch: called before every run."""
    terms = recorded_config(study)
    assert terms

    def run(spec: RunSpec) -> Result:
        watch()
        with allowed():
            return run_one(spec, dataset, probe=False)

    queue.work([study], lambda spec: _accuracy(run(spec)), join_search(study, terms, dataset, run))


def _accuracy(result: Result) -> float:
    if result.status == "diverged":
        raise Diverged(f"diverged: {result.reason}")
    return result.metrics["accuracy"]


def _run(spec: RunSpec, dataset: Dataset, display: RunDisplay, probe: bool) -> Result:
    # It may be another experiment's run too, and in another worker's hands: its result will serve.
    with allowed():
        return run_one(spec, dataset, display, wait=True, probe=probe)


def start_workers(
    names: Sequence[str], count: int, watch: Callable[[], None], *, probe: bool, slurm: str | None = None
) -> None:
    """Let so many workers, each on its share of the cores or with a GPU of its own, work through some studies.

    watch: called every now and then. slurm: options of Slurm jobs, which the workers then are. Raises HarnessError with
    the last words of a worker when all of them failed.
    """
    folder = paths.mlruns() / "workers"
    command = [sys.executable, "-m", "harness", "worker", *names, *([] if probe else ["--no-probe"])]
    if slurm is not None:
        work_through(command, count, slurm, folder, watch)
        return
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{os.getpid()}-{number}.log" for number in range(1, count + 1)]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for number, log in enumerate(logs):
            workers.append(_start(command, log, number, count))
        while [worker for worker in workers if worker.poll() is None]:
            watch()
            time.sleep(0.5)
        watch()
    finally:
        _end(workers)
    if all(worker.returncode for worker in workers):
        raise HarnessError(
            f"All {count} workers died (exit codes {', '.join(str(worker.returncode) for worker in workers)}); the "
            f"last words of the first: {_last_line(logs[0])!r} ({logs[0]}). What they finished is kept; the "
            f"same command goes on from there."
        )


def _start(command: Sequence[str], log: Path, number: int, count: int) -> subprocess.Popen[bytes]:
    own = gpus()
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": own[number % len(own)]} if own else {})
    with open(log, "wb") as file:
        # A session of its own: Ctrl-C would reach it from the terminal, and then once more from here.
        worker = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    if len(_cores()) >= count:
        # TensorFlow makes as many threads as it has cores: without a share of its own, each worker would take them all.
        with contextlib.suppress(psutil.Error):
            psutil.Process(worker.pid).cpu_affinity(_cores()[number::count])
    return worker


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let them end their runs in good order, all at once."""
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _cores() -> list[int]:
    """The processor cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say of a queue that does not answer, or of a worker that cannot go on, what is safe and what to do."""
    try:
        yield
    except (*queue.DATABASE_ERRORS, queue.CannotGoOn) as error:
        cause: BaseException = (isinstance(error, queue.CannotGoOn) and error.__cause__) or error
        if isinstance(cause, HarnessError):
            raise cause from None
        if not isinstance(cause, queue.DATABASE_ERRORS):
            raise HarnessError(
                f"This worker cannot go on ({type(cause).__name__}: {first_line(cause)}). What it finished is kept and "
                f"what it was at waits again: mend what is wrong here, and give the same command again."
            ) from error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise HarnessError(
            f"The queue at {queue.shown_url()} did not answer ({first_line(cause)}). Every finished "
            f"epoch is safe in {paths.mlruns() / 'runs'}: give the same command again."
        ) from error
