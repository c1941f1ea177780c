"""A file with a list of run specs, to plan runs on one machine and train them on another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.commands.execution import check_workers
from harness.common import paths
from harness.common.documents import read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.data import load_named
from harness.execute.pool import train_all
from harness.execute.run_one import Execution, result_of
from harness.runs.spec import RunSpec, run_spec_from_json

FORMAT = 1


def write(file: Path, specs: Sequence[RunSpec]) -> int:
    """Write run specs to a file that `read` reads, each run once; return how many were written."""
    distinct = {spec.config.key: json.loads(spec.to_json()) for spec in specs}
    write_atomically(file, json.dumps({"format": FORMAT, "specs": list(distinct.values())}, indent=1).encode())
    return len(distinct)


def read(file: Path) -> list[RunSpec]:
    """Return the run specs of a file. Raises BadInput that names what is invalid, and where."""
    try:
        document = read_json(file, dict[str, Any])
        if document["format"] != FORMAT:
            raise BadInput(f"{file} has the format {document['format']}; this version reads {FORMAT}: plan again.")
        if not isinstance(document["specs"], list):
            raise ValueError("its specs are no list")
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{file} is no list of runs ({error}). `harness plan EXPERIMENT --out specs.json` writes one."
        ) from error
    specs = []
    for number, entry in enumerate(document["specs"], start=1):
        try:
            specs.append(run_spec_from_json(json.dumps(entry)))
        except (ValueError, BadInput) as error:
            raise BadInput(
                f"Run {number} of {file} is invalid ({error}). Another version may have written it: plan again with "
                f"the one that trains it."
            ) from error
    return specs


def train(file: Path, execution: Execution) -> dict[str, Any]:
    """Train the runs of a file to their end; return a document with their results.

    Raises BadInput for an invalid file, and HarnessError if a run still is not done at the end.
    """
    check_workers(execution.workers)
    specs = read(file)
    if not specs:
        raise BadInput(f"{file} lists no run: all that was asked for was done where it was planned.")
    for what, names in {
        "data sets": {spec.config.data for spec in specs},
        "engines": {spec.config.engine for spec in specs},
    }.items():
        if len(names) > 1:
            raise BadInput(f"{file} has runs of {len(names)} {what} ({', '.join(sorted(names))}): plan them apart.")
    dataset = load_named(specs[0].config.data)
    trained = train_all(specs, dataset, execution)
    ended = [found for spec in specs if (found := result_of(spec))]
    return {
        "specs": str(file),
        "folder": str(paths.mlruns() / "runs"),
        "runs": [
            {
                "name": each.spec.name,
                "run_key": each.spec.config.key,
                "status": each.result.status,
                "reason": each.result.reason,
                "accuracy": each.result.metrics.get("accuracy"),
                "training_seconds": each.result.metrics.get("training_seconds"),
                "trained": each.spec.config.key in trained,
            }
            for each in ended
        ],
    }
