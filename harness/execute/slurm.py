"""Workers as Slurm jobs, submitted through submitit (the `slurm` extra)."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.lazy import lazy_import

submitit = lazy_import("submitit")


def work_through(command: Sequence[str], count: int, options: str, folder: Path, watch: Callable[[], None]) -> None:
    """Submit a command as `count` Slurm jobs, and wait until all of them have left Slurm's queue.

    options: for example `time=240,partition=gpu,gpus_per_node=1`; the names are submitit's and sbatch's, time is in
    minutes. folder: for the jobs' logs, on a disk that all nodes see. watch: called every two seconds. An exception or
    a signal while waiting cancels the jobs. Raises BadInput for an unknown option, HarnessError if there is no Slurm.
    """
    parameters = check(options)
    jobs: list[Any] = []
    try:
        try:
            executor = submitit.SlurmExecutor(folder=folder)
            executor.update_parameters(job_name="harness", **parameters)
            with _outside_of_a_job():
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


def check(options: str) -> dict[str, str | int]:
    """Return the parameters for submitit. Raises HarnessError if it is not installed, BadInput for wrong options."""
    if not find_spec("submitit"):
        raise HarnessError("--slurm needs submitit: .venv/bin/python -m pip install submitit")
    return _parse(options)


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hide the settings of the Slurm job that this process is in, if any: sbatch would take them for its own options.

    SLURM_CONF stays, which says where Slurm's configuration is, and SBATCH_*, the user's own defaults.
    """
    mine = [name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in mine} if "SLURM_JOB_ID" in os.environ else {}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _parse(options: str) -> dict[str, str | int]:
    """Parse `a=1,b=c` into a mapping; whole numbers become int. Raises BadInput for an option without `=`."""
    parsed: dict[str, str | int] = {}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if not equals:
            raise BadInput(f"Invalid value --slurm {option}: write it as NAME=VALUE, as in time=240,partition=gpu.")
        parsed[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    return parsed


def _queued(ids: Sequence[str]) -> bool:
    """Whether one of the jobs is still in Slurm's queue. Uses `squeue`: not every cluster has accounting (`sacct`)."""
    asked = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        # squeue says so when it no longer knows any of the jobs. After any other failure they may still be queued.
        return "Invalid job id" not in found.stderr
    return bool(found.stdout.strip())
