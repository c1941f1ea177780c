"""Runs one cell: the lock, the engine, the training, the tracking and the figures, in that order."""

from dataclasses import dataclass

import numpy as np

from harness.data import Dataset, Split
from harness.engine import open_engine
from harness.experiment import Cell
from harness.runs import History, Result, RunFolder
from harness.tracking import Tracker, is_tracked, supersede
from harness.training import Observer, train


@dataclass(frozen=True)
class Outcome:
    """A cell that is over. `trained` is false when it was over before."""

    cell: Cell
    folder: RunFolder
    result: Result
    history: History
    trained: bool
    tracking_seconds: float


def run_cell(cell: Cell, split: Split, dataset: Dataset, observer: Observer, *, fresh: bool = False) -> Outcome:
    """Bring a cell to its end from wherever it stands. Raises HarnessError when another process has it."""
    folder = RunFolder(cell.config)
    with folder.locked():
        if fresh:
            supersede(folder)
            folder.clear()
        result = folder.result()
        if result and is_tracked(folder):
            return Outcome(cell, folder, result, folder.history(), False, 0.0)
        engine = open_engine(cell.config, split)
        tags = {
            "experiment": cell.experiment,
            "variant": cell.variant,
            "recipe": cell.recipe,
            "seed": str(cell.config.seed),
            "budget": cell.budget,
            "data": cell.config.data,
            "split": cell.config.split,
            "device": engine.device,
            "precision": cell.config.precision,
        }
        with Tracker(folder, cell.name, tags, dataset.source) as tracker:
            ended = train(cell.config, engine, split, folder, [observer, tracker])
            folder.finish(ended.result)
            with tracker.timed():
                # Only now: importing matplotlib takes seconds, and training need not wait for it.
                from harness.report.figures import draw_run

                draw_run(folder, cell.name, ended.result, ended.history)
                if ended.result.status == "finished":
                    probabilities = ended.probabilities.astype(np.float16)
                    np.savez_compressed(folder.artifacts / "probabilities.npz", probabilities=probabilities)
            tracker.finish(ended.result, ended.history, engine.export(ended.state), split.eval_images)
        return Outcome(cell, folder, ended.result, ended.history, result is None, tracker.seconds)
