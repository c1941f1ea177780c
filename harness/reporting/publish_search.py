"""A search made public: tables and Optuna's figures in a folder, and a run of its own in MLflow."""

import json
from pathlib import Path
from typing import Any

import optuna

from harness.common.files import write_atomically
from harness.reporting.publish import folder_for
from harness.reporting.search_figures import draw_search
from harness.reporting.search_report import markdown
from harness.tracking.mlflow_report import LONGEST_NOTE, log_findings


def publish(document: dict[str, Any], study: optuna.Study, to: Path | None) -> None:
    """Write a search to a folder in `to` (None: mlruns/answers) and log it; the document then says where they are."""
    folder = folder_for(to, document["study"])
    figures = draw_search(study, document["importances"], folder)
    for name, text in {
        "search.json": json.dumps(document, indent=1) + "\n",
        "trials.csv": study.trials_dataframe().to_csv(index=False),
        "README.md": markdown(document, figures),
    }.items():
        write_atomically(folder / name, text.encode())
    document["folder"] = str(folder)
    numbers = ("best_accuracy", "baseline_accuracy", "pflop", "training_seconds")
    metrics = {name: document[name] for name in numbers if document[name] is not None}
    metrics["trials"] = len(document["trials"])
    identity = {"kind": "search", "study": study.study_name}
    note = markdown(document, [])[:LONGEST_NOTE]
    document["url"] = log_findings(document["data"], f"search: {study.study_name}", identity, note, metrics, folder)
