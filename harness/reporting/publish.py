"""An answer made public: tables and figures in a folder, and a run of its own in MLflow."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.common import paths
from harness.reporting.report_files import write_answer
from harness.runs.spec import RunResult
from harness.tracking.mlflow_report import log_answer


def publish(document: dict[str, Any], outcomes: Sequence[RunResult], to: Path | None) -> None:
    """Write the answer to a folder in `to` (None: mlruns/answers) and log it; the document then says where they are."""
    usual = {"split": "final", "precision": "float32", "engine": "tensorflow"}
    unusual = [document[name] for name, value in usual.items() if document[name] != value]
    words = [*(document[name] for name in ("experiment", "recipe", "budget", "data")), document["changes"], *unusual]
    folder = folder_for(to, "-".join(filter(None, words)))
    write_answer(document, outcomes, folder)
    document["folder"] = str(folder)
    document["url"] = log_answer(document, folder)


def folder_for(to: Path | None, name: str) -> Path:
    """Where findings of that name go. to: None is mlruns/answers."""
    return (to or paths.mlruns() / "answers") / re.sub(r"[^\w.=-]+", "_", name)
