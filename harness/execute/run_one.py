"""Runs one cell: the lock, the engine, the training, its record and the figures, in that order."""

from dataclasses import dataclass

import numpy as np

from harness.common import paths
from harness.common.errors import HarnessError
from harness.data import Dataset
from harness.engine.loop import Observer, train
from harness.engine.protocol import open_engine
from harness.execute.import_bundle import tell_mlflow
from harness.plan import Cell, images_of
from harness.runs.bundle import Bundle, is_sealed, read_bundle
from harness.runs.folder import History, Result, RunFolder
from harness.source_hash import source_hash
from harness.tracking import Tracker, is_tracked, supersede
from harness.tracking.provenance import provenance


@dataclass(frozen=True)
class Outcome:
    """A cell that is over."""

    cell: Cell
    folder: RunFolder
    result: Result
    history: History


def is_done(cell: Cell) -> bool:
    """Whether a cell is over and MLflow, or offline its bundle, has all of it."""
    return _is_done(RunFolder(cell.config))


def _is_done(folder: RunFolder) -> bool:
    return folder.result() is not None and (is_sealed if paths.is_offline() else is_tracked)(folder)


def outcome(cell: Cell) -> Outcome | None:
    """How a cell ended, or None while it has not."""
    folder = RunFolder(cell.config)
    result = folder.result()
    return Outcome(cell, folder, result, folder.history()) if result else None


def forget(cell: Cell) -> None:
    """Let a cell start over (`--fresh`); what MLflow has of it is marked as superseded."""
    folder = RunFolder(cell.config)
    with folder.locked():
        if not paths.is_offline():
            supersede(folder)
        folder.clear()


def check(cell: Cell, dataset: Dataset) -> None:
    """Raises HarnessError where a cell was planned with other data or code than those here."""
    config = cell.config
    if dataset.fingerprint != config.data_fingerprint:
        raise HarnessError(
            f"The data here ({dataset.name}, {dataset.fingerprint[:12]}, from {dataset.source}) are not those "
            f"of the cell {cell.name} ({config.data}, {config.data_fingerprint[:12]}); set $CIFAR10_DIR to the same."
        )
    if config.source != source_hash(config.engine):
        raise HarnessError(
            f"The code here ({source_hash(config.engine)}) is not the code that planned the cell {cell.name} "
            f"({config.source}): they would not give the same numbers. Use the same commit."
        )


def run_cell(
    cell: Cell, dataset: Dataset, observer: Observer | None = None, *, wait: bool = False, probe: bool = True
) -> Result:
    """Bring a cell to its end from wherever it stands.

    Raises HarnessError where the cell was planned with other data or code (`check`), or when another process has it;
    with `wait`, waits for that one instead.
    """
    check(cell, dataset)
    folder = RunFolder(cell.config)
    with folder.locked(wait=wait):
        result = folder.result()
        if result and _is_done(folder):
            return result
        if result and is_sealed(folder):
            tell_mlflow(read_bundle(folder.path), folder, dataset)
            return result
        # Left by an import that was cut off: this run is made here.
        (folder.path / "bundle.json").unlink(missing_ok=True)
        split = images_of(cell.config, dataset)
        engine = open_engine(cell.config, split)
        tags = provenance() | {
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
        record = (
            Bundle(folder, cell, tags, dataset.source)
            if paths.is_offline()
            else Tracker(folder, cell.name, tags, dataset.source)
        )
        with record:
            observers = [observer, record] if observer else [record]
            ended = train(cell.config, engine, split, folder, observers, probe=probe)
            folder.finish(ended.result, ended.history)
            with record.timed():
                if cell.is_worth_a_portrait:
                    # Only now: importing matplotlib takes seconds, and training need not wait for it.
                    from harness.reporting.run_figures import draw_run

                    draw_run(folder, cell.name, ended.result, ended.history)
                if ended.result.status == "finished":
                    probabilities = ended.probabilities.astype(np.float16)
                    np.savez_compressed(folder.artifacts / "probabilities.npz", probabilities=probabilities)
            model = engine.export(ended.state) if cell.is_worth_a_portrait else None
            record.finish(ended.result, ended.history, model, split.eval_images)
        return ended.result
