"""`harness calibrate`: an A/A test of the statistics, on real runs that differ in nothing but the seed."""

import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.design import Design
from harness.analysis.power import Rates, rates, resampled
from harness.common.documents import read_bytes, read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.experiment import BASELINE, LOOKS
from harness.reporting.console import print_line

if TYPE_CHECKING:
    from harness.reporting import calibration
else:
    # matplotlib is slow to import.
    calibration = lazy_import("harness.reporting.calibration")

#: Variants of a family: as many as the ablations have, or nearly.
VARIANTS = 4

#: Sizes of the effects of the power curve, in standard deviations of a run.
EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)

#: Families simulated for each point of the power curve, as a share of those of the A/A test.
POWER_SHARE = 0.1


def calibrate(file: Path, simulated: int, to: Path) -> dict[str, Any]:
    """Resample the runs of a file into comparisons and families, judge them, and write calibration.md and .png.

    Raises BadInput for a file that cannot be read, or has too few runs for one family.
    """
    if simulated < 10:
        raise BadInput(f"Invalid value --families {simulated}: give at least 10; 10000 tell 5 % to ±0.4 %.")
    accuracies = read(file)
    design = Design(tuple(range(LOOKS[-1])), LOOKS)
    needed = (VARIANTS + 1) * LOOKS[-1]
    if len(accuracies) < needed:
        raise BadInput(
            f"{file} has {len(accuracies)} runs, and one family takes {needed}: `harness run baseline --budget quick "
            f"--seeds 100` makes enough, and `harness compare baseline --budget quick --seeds 100 --json` lists them."
        )
    sd = float(np.std(accuracies, ddof=1))
    single = rates(resampled(accuracies, 1, LOOKS[-1]), design, simulated)
    family = rates(resampled(accuracies, VARIANTS, LOOKS[-1]), design, simulated)
    fewer = max(int(POWER_SHARE * simulated), 10)
    curve = {
        effect: rates(resampled(accuracies, VARIANTS, LOOKS[-1], effect * sd), design, fewer) for effect in EFFECTS
    }
    document = {
        "file": file.name,
        "runs": len(accuracies),
        "mean": float(np.mean(accuracies)),
        "sd": sd,
        "looks": list(LOOKS),
        "variants": VARIANTS,
        "single": _plain(single),
        "family": _plain(family),
        "power": [{"effect_in_sd": effect, "effect": effect * sd, **_plain(each)} for effect, each in curve.items()],
        "command": shlex.join(["harness", "calibrate", str(file), "--families", str(simulated)]),
    }
    to.mkdir(parents=True, exist_ok=True)
    calibration.draw(document, to / "calibration.png")
    write_atomically(to / "calibration.md", calibration.markdown(document, "calibration.png").encode())
    return document | {"folder": str(to)}


def _plain(found: Rates) -> dict[str, float]:
    return {**vars(found), "standard_error": found.standard_error}


def read(file: Path) -> list[float]:
    """Return the accuracies of a file: a JSON list of numbers, a report as JSON, or a CSV with a column `accuracy`.

    Of a report or table, those of the baseline. Raises BadInput for anything else.
    """
    try:
        if file.suffix == ".csv":
            rows: Sequence[Any] = pd.read_csv(io.BytesIO(read_bytes(file))).to_dict("records")
        else:
            document = read_json(file, Any)
            rows = document["runs"] if isinstance(document, dict) else document
        own = [row for row in rows if not isinstance(row, dict) or row.get("variant", BASELINE) == BASELINE]
        accuracies = [float(row["accuracy"] if isinstance(row, dict) else row) for row in own]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} has no accuracies ({error}): give a JSON list of them, a report as JSON, or a CSV with a column "
            f"`accuracy`."
        ) from error
    if not all(0 <= accuracy <= 1 for accuracy in accuracies):
        raise BadInput(f"{file} has accuracies that are not between 0 and 1; give shares, as 0.86.")
    return accuracies


def print_calibration(document: dict[str, Any]) -> None:
    """Show what the A/A test found."""
    for sentence in calibration.sentences(document):
        print_line(sentence)
    print_line(f"  {document['folder']}/calibration.md")
