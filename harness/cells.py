"""Runs one cell: the lock, the engine, the training, the tracking and the figures, in that order."""

from dataclasses import dataclass

import numpy as np

from harness.data import Dataset
from harness.engine import open_engine
from harness.plan import Cell, images_of
from harness.runs import History, Result, RunFolder
from harness.tracking import Tracker, is_tracked, supersede
from harness.training import Observer, train


@dataclass(frozen=True)
class Outcome:
    """A cell that is over."""

    cell: Cell
    folder: RunFolder
    result: Result
    history: History


def is_done(cell: Cell) -> bool:
    """Whether a cell is over and MLflow knows all of it."""
    folder = RunFolder(cell.config)
    return folder.result() is not None and is_tracked(folder)


def outcome(cell: Cell) -> Outcome | None:
    """How a cell ended, or None while it has not."""
    folder = RunFolder(cell.config)
    result = folder.result()
    return Outcome(cell, folder, result, folder.history()) if result else None


def forget(cell: Cell) -> None:
    """Let a cell start over (`--fresh`); what MLflow has of it is marked as superseded."""
    folder = RunFolder(cell.config)
    with folder.locked():
        supersede(folder)
        folder.clear()


def run_cell(cell: Cell, dataset: Dataset, observer: Observer, *, wait: bool = False, probe: bool = True) -> Result:
    """Bring a cell to its end from wherever it stands.

    Raises HarnessError when another process has it; with `wait`, waits for that one instead.
    """
    folder = RunFolder(cell.config)
    with folder.locked(wait=wait):
        result = folder.result()
        if result and is_tracked(folder):
            return result
        split = images_of(cell.config, dataset)
        engine = open_engine(cell.config, split)
        tags = {
            "experiment": cell.experiment,
            "variant": cell.variant,
            "recipe": cell.recipe,
            "purpose": cell.purpose,
            "seed": str(cell.config.seed),
            "budget": cell.budget,
            "data": cell.config.data,
            "split": cell.config.split,
            "device": engine.device,
            "precision": cell.config.precision,
        }
        with Tracker(folder, cell.name, tags, dataset.source) as tracker:
            ended = train(cell.config, engine, split, folder, [observer, tracker], probe=probe)
            folder.finish(ended.result, ended.history)
            with tracker.timed():
                if cell.is_worth_a_portrait:
                    # Only now: importing matplotlib takes seconds, and training need not wait for it.
                    from harness.report.figures import draw_run

                    draw_run(folder, cell.name, ended.result, ended.history)
                if ended.result.status == "finished":
                    probabilities = ended.probabilities.astype(np.float16)
                    np.savez_compressed(folder.artifacts / "probabilities.npz", probabilities=probabilities)
            model = engine.export(ended.state) if cell.is_worth_a_portrait else None
            tracker.finish(ended.result, ended.history, model, split.eval_images)
        return ended.result
