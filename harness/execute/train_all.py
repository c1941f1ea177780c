"""Brings cells to their end: what is done is left alone, one cell is trained here, several go through the queue.

Offline there is no queue: this process trains one after the other.
"""

import traceback
from collections.abc import Mapping, Sequence

from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.hardware import has_gpu, sees_gpu
from harness.data import Dataset
from harness.execute.run_one import is_done, run_cell
from harness.plan import Cell
from harness.reporting.console import log
from harness.reporting.progress import CellsDisplay, RunDisplay
from harness.runs.folder import RunFolder, write_atomically


def train_all(
    cells: Sequence[Cell],
    dataset: Dataset,
    *,
    workers: int | None = None,
    probe: bool = True,
    slurm: str | None = None,
) -> set[str]:
    """Train what is not done yet; return, when every cell has a result, the keys of those that had none before.

    workers: processes; None is one for a few cells and one per core, memory permitting, for many.
    slurm: options of Slurm jobs, where the processes shall be such. Raises BadInput where workers are asked for
    offline, and HarnessError for a cell that cannot be brought to its end.
    """
    if paths.is_offline() and (workers or slurm is not None):
        raise BadInput("--offline does not go with --workers or --slurm: workers meet in Optuna's database.")
    # Of several experiments that share a run the first one trains it: reversed, as in a dict the last one stays.
    distinct = {cell.config.key: cell for cell in reversed(cells)}
    todo = [cell for cell in cells if distinct[cell.config.key] is cell and not is_done(cell)]
    if todo:
        warn_of_slow_engine(todo[0].config.engine)
    if len(todo) == 1 and slurm is None:
        with RunDisplay(todo[0].name, todo[0].config) as display:
            run_cell(todo[0], dataset, display, probe=probe)
    elif todo and paths.is_offline():
        _in_turn(todo, dataset, probe=probe)
    elif todo:
        # Only now: Optuna takes seconds to import, and one run needs no queue.
        from harness.execute.pool import through_the_queue

        through_the_queue(todo, dataset, workers, probe=probe, slurm=slurm)
    return {cell.config.key for cell in todo}


def _in_turn(cells: Sequence[Cell], dataset: Dataset, *, probe: bool) -> None:
    """Train cells one after the other; one that fails does not stop the others, the HarnessError at the end names it.

    Those that share a compiled program come in a row, as an engine keeps few of them.
    """
    failed: dict[str, str] = {}
    with CellsDisplay(cells) as display:
        for cell in sorted(cells, key=lambda cell: repr((cell.config.network, cell.config.recipe.optimizer))):
            try:
                run_cell(cell, dataset, probe=probe)
            except Exception as error:
                failed[cell.name] = first_line(error)
                # Nobody watches there, and one line is little to go by.
                file = RunFolder(cell.config).path / "error.txt"
                write_atomically(file, "".join(traceback.format_exception(error)).encode())
            display.update()
    if failed:
        raise incomplete(failed, len(cells))


def incomplete(failed: Mapping[str, str], cells: int) -> HarnessError:
    """The error of so many cells of which some have no result; failed: name -> reason."""
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in list(failed.items())[:10])
    return HarnessError(
        f"{len(failed)} of {cells} cells have no result:\n{reasons}\nThe others are kept. When the reason is mended, "
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
