"""Workers as Slurm jobs, submitted through submitit (the `slurm` extra)."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import BadInput, HarnessError, first_line


def work_through(command: Sequence[str], count: int, options: str, folder: Path, watch: Callable[[], None]) -> None:
    """Submit a command so many times, and wait until the last of the jobs has left Slurm's queue.

    options: as in `time=240,partition=gpu,gpus_per_node=1`; submitit's and sbatch's names, time in minutes. folder: for
    the jobs' logs, on a disk that all nodes see. watch: called every two seconds. Whatever ends the wait early cancels
    the jobs. Raises BadInput for an unknown option, HarnessError where there is no Slurm.
    """
    try:
        import submitit
    except ImportError:
        raise HarnessError("--slurm needs submitit: .venv/bin/python -m pip install submitit") from None
    try:
        executor = submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(job_name="harness", **_parse(options))
        jobs = [executor.submit(submitit.helpers.CommandFunction(list(command))) for _ in range(count)]
    except ValueError as error:
        raise BadInput(f"--slurm {options} does not fit: {error}") from error
    except (RuntimeError, subprocess.CalledProcessError, submitit.core.utils.FailedJobError) as error:
        raise HarnessError(
            f"Slurm did not take the workers ({first_line(error)}): does `sinfo` answer here?"
        ) from error
    try:
        while _queued([job.job_id for job in jobs]):
            watch()
            time.sleep(2)
        watch()
    except BaseException:
        for job in jobs:
            with contextlib.suppress(subprocess.CalledProcessError):
                job.cancel()
        raise


def _parse(options: str) -> dict[str, str | int]:
    """`a=1,b=c` as a mapping; numbers as numbers."""
    parsed: dict[str, str | int] = {}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if not equals:
            raise BadInput(f"--slurm {option} does not fit: write it as NAME=VALUE, as in time=240,partition=gpu.")
        parsed[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    return parsed


def _queued(ids: Sequence[str]) -> bool:
    """Whether Slurm still has one of the jobs; accounting, which not every cluster has, is not asked."""
    found = subprocess.run(["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"], capture_output=True)
    # It fails when it has forgotten all of them.
    return found.returncode == 0 and bool(found.stdout.strip())
