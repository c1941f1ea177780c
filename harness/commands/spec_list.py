"""A list of cells as a file: planned on one machine, trained on another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.common import paths
from harness.common.errors import BadInput
from harness.data import load
from harness.execute.run_one import outcome
from harness.execute.train_all import train_all
from harness.plan import Cell, cell_from_json
from harness.runs.folder import write_atomically

FORMAT = 1


def write(file: Path, cells: Sequence[Cell]) -> int:
    """Write cells to a file that `read` reads, each run once; returns how many those are."""
    distinct = {cell.config.key: json.loads(cell.to_json()) for cell in cells}
    write_atomically(file, json.dumps({"format": FORMAT, "cells": list(distinct.values())}, indent=1).encode())
    return len(distinct)


def read(file: Path) -> list[Cell]:
    """The cells of a file. Raises BadInput that names what does not fit, and where."""
    try:
        document = json.loads(file.read_text())
        if document["format"] != FORMAT:
            raise BadInput(f"{file} has the format {document['format']}; this version reads {FORMAT}: plan again.")
        entries = list(document["cells"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} is no list of cells ({error}). `harness plan EXPERIMENT --out cells.json` writes one."
        ) from error
    cells = []
    for number, entry in enumerate(entries, start=1):
        try:
            cells.append(cell_from_json(json.dumps(entry)))
        except (TypeError, KeyError, ValueError, AttributeError, BadInput) as error:
            raise BadInput(
                f"Cell {number} of {file} does not fit ({error}). Another version may have written it: plan again "
                f"with the one that trains it."
            ) from error
    return cells


def train(file: Path, *, workers: int | None, probe: bool, slurm: str | None) -> dict[str, Any]:
    """Bring the cells of a file to their end; the document of how they ended.

    Raises BadInput for a file that does not fit, and HarnessError for a cell that cannot be brought to its end.
    """
    cells = read(file)
    if not cells:
        raise BadInput(f"{file} lists no cell: all that was asked for was done where it was planned.")
    for what, names in {
        "data sets": {cell.config.data for cell in cells},
        "engines": {cell.config.engine for cell in cells},
    }.items():
        if len(names) > 1:
            raise BadInput(f"{file} has cells of {len(names)} {what} ({', '.join(sorted(names))}): plan them apart.")
    dataset = load("digits" if cells[0].config.data == "digits" else None)
    trained = train_all(cells, dataset, workers=workers, probe=probe, slurm=slurm)
    ended = [found for cell in cells if (found := outcome(cell))]
    return {
        "cells": str(file),
        "folder": str(paths.mlruns() / "runs"),
        "runs": [
            {
                "name": each.cell.name,
                "run_key": each.cell.config.key,
                "status": each.result.status,
                "reason": each.result.reason,
                "accuracy": each.result.metrics.get("accuracy"),
                "training_seconds": each.result.metrics.get("training_seconds"),
                "trained": each.cell.config.key in trained,
            }
            for each in ended
        ],
    }
