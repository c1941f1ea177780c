"""The figures of an answer, as files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.common.files import write_atomically
from harness.reporting import curves as courses
from harness.reporting import forest
from harness.reporting.tuning import tuning
from harness.runs.spec import RunResult


def draw_answer(document: dict[str, Any], outcomes: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw what there is to show, and return the files."""
    figures = {
        "forest": forest.comparisons(document),
        "effects": forest.effects(document),
        "curves": courses.accuracy(document, outcomes),
        "gradient_flow": courses.gradient_flow(document, outcomes),
        "tuning": tuning(document),
    }
    drawn = []
    for name, figure in figures.items():
        file = folder / f"{name}.png"
        if figure:
            image = io.BytesIO()
            figure.savefig(image, format="png", dpi=120)
            write_atomically(file, image.getvalue())
            drawn.append(file)
        else:
            # An earlier answer's would be taken for this one's.
            file.unlink(missing_ok=True)
    return drawn
