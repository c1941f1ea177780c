"""`harness calibrate`: an A/A test of the statistics, on real runs that differ in nothing but the seed."""

import dataclasses
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.power import FAMILY, a_a_test
from harness.analysis.stats import CHANCE
from harness.common.documents import read_bytes, read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.config import Network, Recipe, RunConfig
from harness.experiment import BASELINE
from harness.reporting.console import print_line

if TYPE_CHECKING:
    from harness.reporting import calibration, publish
else:
    # matplotlib is slow to import.
    calibration = lazy_import("harness.reporting.calibration")
    publish = lazy_import("harness.reporting.publish")

#: What runs of one recipe have in common, as far as a file says it: the columns of `harness runs --csv`.
COMMON = (
    *("budget", "recipe"),
    *(each.name for part in (RunConfig, Network, Recipe) for each in dataclasses.fields(part) if each.name != "seed"),
)


def calibrate(file: Path, families: int, to: Path | None) -> dict[str, Any]:
    """Resample the runs of a file into comparisons and families, judge them, and write calibration.md and .png.

    to: the folder for both; None is mlruns/reports/calibration. Raises BadInput for a file that cannot be read, or has
    too few runs for one family.
    """
    if families < 10:
        raise BadInput(f"Invalid value --families {families}: give at least 10; 10000 tell 5 % to ±0.4 %.")
    accuracies = read(file)
    if len(accuracies) < FAMILY:
        raise BadInput(
            f"{file} has {len(accuracies)} runs, and one family takes {FAMILY}: `harness run baseline --budget quick "
            f"--seeds 100` makes enough, and `harness compare baseline --budget quick --seeds 100 --json` lists them."
        )
    folder = to or publish.folder_for(None, "calibration")
    command = shlex.join(["harness", "calibrate", str(file), "--families", str(families)])
    document = {"file": file.name, **a_a_test(tuple(accuracies), families), "command": command}
    image = io.BytesIO()
    calibration.figure(document).savefig(image, format="png", dpi=120)
    write_atomically(folder / "calibration.png", image.getvalue())
    write_atomically(folder / "calibration.md", calibration.markdown(document, "calibration.png").encode())
    return document | {"folder": str(folder)}


def read(file: Path) -> list[float]:
    """Return the accuracies of a file: a JSON list of numbers, a report as JSON, or a CSV with a column `accuracy`.

    Of a report or table, those of the baseline's runs that have ended; one that diverged counts as a guess. Raises
    BadInput for anything else, and for runs that differ in more than the seed.
    """
    try:
        if file.suffix == ".csv":
            rows: Sequence[Any] = pd.read_csv(io.BytesIO(read_bytes(file))).to_dict("records")
        else:
            document = read_json(file, Any)
            rows = document["runs"] if isinstance(document, dict) else document
        own = [row for row in rows if not isinstance(row, dict) or _is_usual(row)]
        _check_alike(file, [row for row in own if isinstance(row, dict)])
        accuracies = [_accuracy(row) if isinstance(row, dict) else float(row) for row in own]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} has no accuracies ({error}): give a JSON list of them, a report as JSON, or a CSV with a column "
            f"`accuracy`."
        ) from error
    if not all(0 <= accuracy <= 1 for accuracy in accuracies):
        raise BadInput(f"{file} has accuracies that are not between 0 and 1; give shares, as 0.86.")
    return accuracies


def _is_usual(row: Mapping[str, Any]) -> bool:
    """Whether a run is one of the baseline, with the recipe's own learning rate, that has ended."""
    usual = {"variant": BASELINE, "phase": "same recipe"}
    ended = row.get("status", "finished") in ("finished", "diverged")
    return ended and all(row.get(name, value) == value for name, value in usual.items())


def _accuracy(row: Mapping[str, Any]) -> float:
    return CHANCE if row.get("status") == "diverged" else float(row["accuracy"])


def _check_alike(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises BadInput if some runs differ in more than the seed: what that does would count as chance."""
    for name in dict.fromkeys(COMMON):
        values = sorted({str(row[name]) for row in rows if name in row})
        if len(values) > 1:
            raise BadInput(
                f"{file} has runs that differ in {name} ({values[0]} and {values[1]}), not in the seed alone: "
                f"`harness runs --where {name}={values[0]} --csv` lists those of one {name}."
            )


def print_calibration(document: dict[str, Any]) -> None:
    """Show what the A/A test found."""
    for sentence in calibration.sentences(document):
        print_line(sentence)
    print_line(f"  {document['folder']}/calibration.md")
