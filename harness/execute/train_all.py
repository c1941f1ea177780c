"""Brings runs to their end: what is done is left alone, one run is trained here, several go through the queue.

Offline there is no queue: this process trains one after the other.
"""

import traceback
from collections.abc import Mapping, Sequence

from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.files import write_atomically
from harness.common.hardware import has_gpu, sees_gpu
from harness.data import Dataset
from harness.execute.run_one import is_done, run_one
from harness.plan import RunSpec
from harness.reporting.console import log
from harness.reporting.progress import RunDisplay, RunsDisplay
from harness.runs.folder import RunFolder


def train_all(
    specs: Sequence[RunSpec],
    dataset: Dataset,
    *,
    workers: int | None = None,
    probe: bool = True,
    slurm: str | None = None,
) -> set[str]:
    """Train what is not done yet; return, when every run has a result, the keys of those that had none before.

    workers: processes; None is one for a few runs and one per core, memory permitting, for many.
    slurm: options of Slurm jobs, where the processes shall be such. Raises BadInput where workers are asked for
    offline, and HarnessError for a run that cannot be brought to its end.
    """
    if paths.is_offline() and (workers or slurm is not None):
        raise BadInput("--offline does not go with --workers or --slurm: workers meet in Optuna's database.")
    # Of several experiments that share a run the first one trains it: reversed, as in a dict the last one stays.
    distinct = {spec.config.key: spec for spec in reversed(specs)}
    todo = [spec for spec in specs if distinct[spec.config.key] is spec and not is_done(spec)]
    if todo:
        warn_of_slow_engine(todo[0].config.engine)
    if len(todo) == 1 and slurm is None:
        with RunDisplay(todo[0].name, todo[0].config) as display:
            run_one(todo[0], dataset, display, probe=probe)
    elif todo and paths.is_offline():
        _in_turn(todo, dataset, probe=probe)
    elif todo:
        # Only now: Optuna takes seconds to import, and one run needs no queue.
        from harness.execute.pool import through_the_queue

        through_the_queue(todo, dataset, workers, probe=probe, slurm=slurm)
    return {spec.config.key for spec in todo}


def _in_turn(specs: Sequence[RunSpec], dataset: Dataset, *, probe: bool) -> None:
    """Train runs one after the other; one that fails does not stop the others, the HarnessError at the end names it.

    Those that share a compiled program come in a row, as an engine keeps few of them.
    """
    failed: dict[str, str] = {}
    with RunsDisplay(specs) as display:
        for spec in sorted(specs, key=lambda spec: repr((spec.config.network, spec.config.recipe.optimizer))):
            try:
                run_one(spec, dataset, probe=probe)
            except Exception as error:
                failed[spec.name] = first_line(error)
                # Nobody watches there, and one line is little to go by.
                file = RunFolder(spec.config).path / "error.txt"
                write_atomically(file, "".join(traceback.format_exception(error)).encode())
            display.update()
    if failed:
        raise incomplete(failed, len(specs))


def incomplete(failed: Mapping[str, str], count: int) -> HarnessError:
    """The error of so many runs of which some have no result; failed: name -> reason."""
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in list(failed.items())[:10])
    return HarnessError(
        f"{len(failed)} of {count} runs have no result:\n{reasons}\nThe others are kept. When the reason is mended, "
        f"the same command (without --fresh) trains what is missing."
    )


def warn_of_slow_engine(engine: str) -> None:
    """Say of JAX without an accelerator that TensorFlow would be faster."""
    if engine != "jax" or sees_gpu("jax"):
        return
    if has_gpu():
        log.print(
            "This machine has an NVIDIA driver, but JAX sees no GPU: `.venv/bin/python -m pip install 'jax[cuda13]'` "
            "would let it."
        )
    else:
        log.print(
            "On a CPU, JAX trains this network at a third of TensorFlow's speed (152 against 516 images/s on two cores "
            "of a Xeon): without a GPU, --engine tensorflow answers sooner."
        )
