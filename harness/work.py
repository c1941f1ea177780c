"""Brings cells to their end: what is done is left alone, one cell is trained here, several go through the queue."""

from collections.abc import Sequence

from harness.cells import is_done, run_cell
from harness.data import Dataset
from harness.plan import Cell
from harness.report.progress import RunDisplay


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
    slurm: options of Slurm jobs, where the processes shall be such. Raises HarnessError
    for a cell that cannot be brought to its end.
    """
    # Of several experiments that share a run the first one trains it: reversed, as in a dict the last one stays.
    distinct = {cell.config.key: cell for cell in reversed(cells)}
    todo = [cell for cell in cells if distinct[cell.config.key] is cell and not is_done(cell)]
    if len(todo) == 1 and slurm is None:
        with RunDisplay(todo[0].name, todo[0].config) as display:
            run_cell(todo[0], dataset, display, probe=probe)
    elif todo:
        # Only now: Optuna takes seconds to import, and one run needs no queue.
        from harness.workers import through_the_queue

        through_the_queue(todo, dataset, workers, probe=probe, slurm=slurm)
    return {cell.config.key for cell in todo}
