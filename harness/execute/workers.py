"""Workers: processes that take runs and trials from the queue, here or as Slurm jobs."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from harness.common import paths
from harness.common.errors import HarnessError
from harness.common.hardware import cores, gpus, has_gpu
from harness.common.process import identity
from harness.config import Recipe
from harness.execute.slurm import work_through

#: Memory of one worker, in bytes, with room to spare (docs/speed.md has the measured peak).
WORKER_MEMORY = 3 * 1024**3

#: Seconds that a worker has to shut down cleanly before it is killed.
PATIENCE = 60


def default_workers(count: int, threads: int = Recipe.threads) -> int:
    """Return the number of workers for `count` runs of some threads each, as many as memory allows.

    One worker for each GPU. Without one, as many as have a core for each thread, and twice as many for many runs:
    between its steps a single process leaves cores idle.
    """
    if has_gpu():
        return max(1, min(count, len(gpus())))
    processors = len(cores())
    at_once = processors // threads
    if count >= 2 * processors:
        at_once = min(processors, 2 * at_once)
    return max(1, min(count, at_once, int(psutil.virtual_memory().available // WORKER_MEMORY)))


def start_workers(
    names: Sequence[str], count: int, watch: Callable[[], None], *, probe: bool, slurm: str | None = None
) -> None:
    """Start `count` workers on the named studies and wait for them. Each has its share of the cores, or one GPU.

    They end after the run they are at if this process is killed. watch: called twice a second. slurm: options of Slurm
    jobs; if given, the workers are Slurm jobs. Raises HarnessError with the last line of a worker's log if all workers
    failed.
    """
    folder = paths.mlruns() / "workers"
    # -P: a file of the user's, such as random.py where the command was given, is not Python's own.
    command = [sys.executable, "-P", "-m", "harness", "worker", *names, *([] if probe else ["--no-probe"])]
    command += ["--parent", identity()["process"]]
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
        # In a new session, or Ctrl-C would interrupt the worker twice: from the terminal and from this process.
        worker = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    if len(cores()) >= count:
        # Imports, the data and MLflow use every core that they may use.
        with contextlib.suppress(psutil.Error):
            psutil.Process(worker.pid).cpu_affinity(cores()[number::count])
    return worker


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate all workers at once and wait; kill those that have not ended after PATIENCE seconds."""
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
