"""Brings cells to their end: what is done is left alone, one cell is trained here, several go through the queue.

Offline there is no queue: this process trains one after the other.
"""

from collections.abc import Sequence

from harness import paths
from harness.cells import check, is_done, run_cell
from harness.data import Dataset
from harness.errors import HarnessError, first_line
from harness.plan import Cell
from harness.report.progress import CellsDisplay, RunDisplay


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
            check(todo[0], dataset)
            run_cell(todo[0], dataset, display, probe=probe)
    elif todo and paths.offline():
        _in_turn(todo, dataset, probe=probe)
    elif todo:
        # Only now: Optuna takes seconds to import, and one run needs no queue.
        from harness.workers import through_the_queue

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
                check(cell, dataset)
                run_cell(cell, dataset, probe=probe)
            except Exception as error:
                failed[cell.name] = first_line(error)
            display.update()
    if failed:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in list(failed.items())[:10])
        raise HarnessError(
            f"{len(failed)} of {len(cells)} cells have no result:\n{reasons}\nThe others are kept. When the reason is "
            f"mended, the same command (without --fresh) trains what is missing."
        )
