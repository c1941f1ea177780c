"""Workers as Slurm jobs, submitted through submitit (the `slurm` extra)."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.lazy import lazy_import

submitit = lazy_import("submitit")


def work_through(command: Sequence[str], count: int, options: str, folder: Path, watch: Callable[[], None]) -> None:
    """Submit a command so many times, and wait until the last of the jobs has left Slurm's queue.

    options: as in `time=240,partition=gpu,gpus_per_node=1`; submitit's and sbatch's names, time in minutes. folder: for
    the jobs' logs, on a disk that all nodes see. watch: called every two seconds. Whatever ends the wait early cancels
    the jobs. Raises BadInput for an unknown option, HarnessError where there is no Slurm.
    """
    if not find_spec("submitit"):
        raise HarnessError("--slurm needs submitit: .venv/bin/python -m pip install submitit")
    jobs: list[Any] = []
    try:
        try:
            executor = submitit.SlurmExecutor(folder=folder)
            executor.update_parameters(job_name="harness", **_parse(options))
            for _ in range(count):
                jobs.append(executor.submit(submitit.helpers.CommandFunction(list(command))))
        except ValueError as error:
            raise BadInput(f"Invalid value --slurm {options}: {error}") from error
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise HarnessError(f"Slurm did not take the workers ({first_line(error)}): does `sinfo` answer?") from error
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
            raise BadInput(f"Invalid value --slurm {option}: write it as NAME=VALUE, as in time=240,partition=gpu.")
        parsed[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    return parsed


def _queued(ids: Sequence[str]) -> bool:
    """Whether Slurm still has one of the jobs; accounting, which not every cluster has, is not asked."""
    asked = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        # It says so when it has forgotten all of them; any other failure says nothing about them.
        return "Invalid job id" not in found.stderr
    return bool(found.stdout.strip())
