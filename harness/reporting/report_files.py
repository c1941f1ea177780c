"""An answer in a folder: a page that git hosts show, the numbers for programs, and the figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.common.files import write_atomically
from harness.reporting.report_figures import draw_answer
from harness.reporting.tables import flat
from harness.reporting.text import markdown
from harness.runs.spec import RunResult


def write_answer(document: dict[str, Any], outcomes: Sequence[RunResult], folder: Path) -> Path:
    """Write README.md, answer.json, table.csv and the figures, each whole, and return the page."""
    figures = draw_answer(document, outcomes, folder)
    page = folder / "README.md"
    for file, text in {
        folder / "answer.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        folder / "table.csv": flat(document).to_csv(index=False),
        page: markdown(document, [figure.name for figure in figures]),
    }.items():
        write_atomically(file, text.encode())
    return page
