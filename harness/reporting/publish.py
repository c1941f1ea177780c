"""Reports made public: tables and figures in a folder, and a run of its own in MLflow."""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.report import Report, RunRow, plain
from harness.common import paths
from harness.common.errors import HarnessError
from harness.common.files import check_folder, write_atomically
from harness.common.lazy import lazy_import
from harness.data import Dataset
from harness.experiment import BASELINE
from harness.reporting import curves, forest, interactions, summary
from harness.reporting.console import log
from harness.reporting.page.render import render
from harness.reporting.page.section import section
from harness.reporting.sentences import findings
from harness.reporting.tables import flat
from harness.reporting.text import markdown
from harness.runs.spec import RunResult
from harness.tracking.mlflow_report import LONGEST_NOTE, log_report
from harness.tracking.report_view import IDENTITY, show_report

if TYPE_CHECKING:
    import optuna

    from harness.reporting import search_figures, search_report
    from harness.search import anytime
else:
    search_figures = lazy_import("harness.reporting.search_figures")
    search_report = lazy_import("harness.reporting.search_report")
    anytime = lazy_import("harness.search.anytime")

#: The page to send around, in the folder of a report.
PAGE = "report.html"

#: Bytes. A file system takes 255, and a hash is added.
LONGEST_NAME = 200


def publish(report: Report, results: Sequence[RunResult], to: Path | None, dataset: Dataset | None = None) -> Report:
    """Write a report to a folder in `to` (None: mlruns/reports) and log it; the same report, with where it is.

    dataset: the images of the runs, for pictures of wrong predictions. If `mlruns/` cannot be written to, only `to` is.
    """
    kept = not paths.is_read_only()
    if not kept:
        log.print(f"{paths.mlruns()} is read-only: what is done is shown, and no report is kept there or in MLflow.")
    if not kept and to is None:
        return report
    usual = {"split": "final", "precision": "float32", "engine": "tensorflow"}
    unusual = [getattr(report, name) for name, value in usual.items() if getattr(report, name) != value]
    words = [report.experiment, report.recipe, report.budget, report.data, report.changes, *unusual]
    folder = folder_for(to, "-".join(filter(None, words)))
    write_report(report, results, folder, dataset)
    identity = {"kind": "report"} | {name: str(getattr(report, name)) for name in IDENTITY}
    name = f"report: {report.experiment} {report.budget}"
    url = log_report(report.data, name, identity, note(report), metrics(report), folder) if kept else ""
    if kept:
        show_report(report, colours(report))
    return dataclasses.replace(report, folder=str(folder), url=url)


def colours(report: Report) -> dict[str, str]:
    """A colour for each variant but the baseline."""
    variants = dict.fromkeys(row.variant for row in report.variants if row.variant != BASELINE)
    return dict(zip(variants, curves.distinct_colours(len(variants)), strict=True))


def folder_for(to: Path | None, name: str) -> Path:
    """Where a report of that name goes. to: None is mlruns/reports."""
    safe = re.sub(r"[^\w.=-]+", "_", name)
    # Two names must not share a folder: a hash tells apart what the folder's name does not.
    if name not in (safe, safe.replace("_", " ")) or len(safe.encode()) > LONGEST_NAME:
        safe = f"{safe.encode()[:LONGEST_NAME].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return (to or paths.mlruns() / "reports") / safe


def write_report(report: Report, results: Sequence[RunResult], folder: Path, dataset: Dataset | None = None) -> Path:
    """Write report.html, README.md, report.json, table.csv and the figures, each whole, and return the README."""
    figures = draw_report(report, results, folder)
    page = folder / "README.md"
    for file, text in {
        folder / "report.json": json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n",
        folder / "table.csv": flat(report).to_csv(index=False),
        folder / PAGE: render([section(report, results, dataset)]),
        page: markdown(report, [figure.name for figure in figures]),
    }.items():
        write_atomically(file, text.encode())
    return page


def publish_all(reported: Sequence[tuple[Report, Sequence[RunResult]]], to: Path | None, dataset: Dataset) -> Path:
    """Write one page with all of these reports, and return it. to: its folder; None is mlruns/reports."""
    if to is None and paths.is_read_only():
        raise HarnessError(f"{paths.mlruns()} is read-only: name another folder for the page with --to.")
    page = (to or paths.mlruns() / "reports") / PAGE
    sections = [section(report, results, dataset) for report, results in reported]
    write_atomically(page, render(sections, "Why does this CNN work?").encode())
    return page


def draw_report(report: Report, results: Sequence[RunResult], folder: Path) -> list[Path]:
    """Draw what there is to show, and return the files."""
    check_folder(folder, f"{folder} cannot be made")
    figures = {
        "forest": forest.comparisons(report),
        "effects": forest.effects(report),
        "interactions": interactions.interactions(report, results),
        "curves": curves.accuracy(report, results),
        "gradient_flow": curves.gradient_flow(report, results),
        "tuning": curves.tuning(report),
    }
    drawn = []
    for name, figure in figures.items():
        file = folder / f"{name}.png"
        if figure:
            image = io.BytesIO()
            # Tight: a label that reaches over the edge widens the picture.
            figure.savefig(image, format="png", dpi=120, bbox_inches="tight", pad_inches=0.12)
            write_atomically(file, image.getvalue())
            drawn.append(file)
        else:
            # One of an earlier report would be taken for this one's.
            file.unlink(missing_ok=True)
    return drawn


def metrics(report: Report) -> dict[str, float]:
    """The mean accuracy of every variant, and its difference to the baseline in points, by MLflow's names for them."""
    found = {}
    for row in report.variants:
        # What MLflow takes in the name of a metric is less than what may be in the name of a variant.
        variant = re.sub(r"[^\w. -]+", "-", row.variant).strip(". ")
        phase = "" if row.phase == "same recipe" else f" {row.phase}"
        if row.accuracy:
            found[f"accuracy{phase}/{variant}"] = row.accuracy.mean
        if row.against_baseline:
            found[f"difference in points{phase}/{variant}"] = 100 * row.against_baseline.mean
    return found


def note(report: Report) -> str:
    """What became of the predictions, and a link to every run: Markdown for the report's page in MLflow.

    Where that is too long for MLflow, the links that come last are left out.
    """
    links: dict[str, list[str]] = {}
    for run in sorted(report.runs, key=lambda run: run.phase == "tuning"):
        links.setdefault(f"{run.variant}, {run.phase}", []).append(_link(run))
    lines = [f"**{report.question}**", ""]
    lines += [summary.answer(report), ""]
    lines += [f"- **{summary.SCORES.get(word, word)}**: {because}" for word, because in findings(report)]
    lines += [
        "",
        "report.html among the artifacts has figures and tables. The runs, by seed (when tuning, by learning rate):",
        "",
    ]
    lines += [f"- {group}: {' '.join(found)}" for group, found in links.items()]
    while sum(map(len, lines)) + len(lines) > LONGEST_NOTE:
        lines.pop()
    return "\n".join(lines)


def _link(run: RunRow) -> str:
    """A link within the UI, whichever port it is served on; the label alone where there is nothing to link."""
    label = f"{run.learning_rate:.3g}" if run.phase == "tuning" else str(run.seed)
    _, hash_mark, place = run.url.partition("#")
    return f"[{label}](#{place})" if hash_mark else label


def publish_search(document: dict[str, Any], study: "optuna.Study", to: Path | None) -> None:
    """Write a search to a folder in `to` (None: mlruns/reports) and log it; the document then says where it is."""
    folder = folder_for(to, document["study"])
    figures = search_figures.draw_search(study, document["importances"], folder)
    for name, text in {
        "search.json": json.dumps(plain(document), indent=1, allow_nan=False) + "\n",
        "trials.csv": study.trials_dataframe().to_csv(index=False),
        "README.md": search_report.markdown(document, figures),
    }.items():
        write_atomically(folder / name, text.encode())
    document["folder"] = str(folder)
    numbers = ("best_accuracy", "baseline_accuracy", "pflop", "training_seconds")
    found = {name: document[name] for name in numbers if document[name] is not None}
    found["trials"] = len(document["trials"])
    identity = {"kind": "search", "study": study.study_name}
    text = search_report.markdown(document, [])[:LONGEST_NOTE]
    document["url"] = log_report(document["data"], f"search: {study.study_name}", identity, text, found, folder)


def publish_anytime(searches: Sequence[Path], to: Path) -> dict[str, Any]:
    """The comparison of some searches (harness.search.anytime), with anytime.csv, .json and .png in a folder."""
    document, table = anytime.anytime(searches)
    document["folder"] = str(to)
    document["files"] = [str(to / f"anytime.{kind}") for kind in ("csv", "json", "png")]
    image = io.BytesIO()
    search_figures.anytime_figure(document, table).savefig(image, format="png", dpi=120)
    write_atomically(to / "anytime.csv", table.to_csv(index=False).encode())
    write_atomically(to / "anytime.json", (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(to / "anytime.png", image.getvalue())
    return document
