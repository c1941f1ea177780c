"""`harness evidence`: collect finished runs, make what the docs quote of them, and compare it with what is there."""

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.studies import Study, has_been_looked_at, progress, report_of, runs_of
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.reporting.console import log, print_line, print_rows
from harness.reporting.quoted import Drawn, filled
from harness.runs import evidence
from harness.runs.bundle import read_bundle
from harness.runs.evidence import EvidenceRun, evidence_of
from harness.runs.spec import RunResult
from harness.tracking.provenance import full_hash

if TYPE_CHECKING:
    from PIL import Image

    from experiments import quoted, quoted_figures, studies
    from harness.reporting import publish
else:
    # Pillow, matplotlib and pandas are slow to import.
    Image = lazy_import("PIL.Image")
    quoted = lazy_import("experiments.quoted")
    quoted_figures = lazy_import("experiments.quoted_figures")
    studies = lazy_import("experiments.studies")
    publish = lazy_import("harness.reporting.publish")

#: The pages that may have blocks.
PAGES = ("README.md", "docs/*.md", "experiments/results/*/README.md")

#: What makes the runs of a command evidence: `harness evidence add bundles` takes them.
OFFLINE = "--offline bundles"

#: Where a figure holds the numbers that it was drawn from.
NUMBERS = "Description"

#: Reports are compared number by number. Another library version may change the last digits.
TOLERANCE = 1e-6


def add(folders: Sequence[Path], commit: str | None) -> dict[str, Any]:
    """Add the runs of bundles to the evidence. Return how many are new, and why others were refused.

    commit: as git names it. Raises BadInput if there is no such commit, or a folder has no bundles.
    """
    found, refused, read = [], [], 0
    commit = commit and full_hash(commit)
    known = {evidence.identity(run): run.result.weights_sha256 for run in evidence.read()}
    for folder in folders:
        bundles = sorted(file.parent for file in folder.glob("**/bundle.json"))
        if not bundles:
            raise BadInput(
                f"{folder} has no bundles: give the folder that was given to `harness run --offline`. Runs that were "
                f"trained without it, as those in mlruns/, are in none."
            )
        for bundle in bundles:
            read += 1
            try:
                sealed = read_bundle(bundle)
                identity, weights = evidence.identity(sealed), sealed.result.weights_sha256
                if identity not in known:
                    found.append(evidence_of(sealed, commit))
                    known[identity] = weights
                elif known[identity] != weights:
                    raise BadInput(f"{bundle} has another result than the evidence for the same run and device.")
            except BadInput as error:
                refused.append(str(error))
    return {"new": evidence.add(found), "read": read, "refused": refused}


def print_added(document: dict[str, Any]) -> None:
    """Print the document of `add`."""
    log.print(f"{document['new']} new runs of {document['read']} in the folder.")
    for reason in document["refused"]:
        log.print(f"  refused: {reason}")


def status() -> dict[str, Any]:
    """Return how far each study is: its runs in the evidence, of how many, and the command that makes them."""
    known = evidence.read()
    rows = []
    for study in (*studies.DECLARED, *studies.RECIPES):
        done, planned = progress(study, runs_of(study, known))
        rows.append({"study": study.name, "runs": done, "of": planned, "command": f"{study.options.command} {OFFLINE}"})
    return {"studies": rows, "runs": len(known)}


def print_status(document: dict[str, Any]) -> None:
    """Print the document of `status`."""
    rows = [[row["study"], f"{row['runs']} of {row['of']}", row["command"]] for row in document["studies"]]
    print_rows(["study", "runs", "command"], rows)
    print_line(f"  {document['runs']} runs in {evidence.FOLDER}")


@dataclass(frozen=True)
class Made:
    """A file that is made from the evidence. differs: how it is not what the evidence gives, a line each."""

    file: Path
    differs: list[str]
    write: Callable[[], object]


def publish_all() -> list[Path]:
    """Write every report, figure and page anew that is not what the evidence gives; return these files."""
    changed = []
    for made in _made(evidence.read()):
        if made.differs:
            made.write()
            changed.append(made.file)
    return changed


def verify() -> list[str]:
    """Return what differs from what the evidence gives, one line each."""
    known = evidence.read()
    if not known:
        raise BadInput(f"There is no evidence in {evidence.FOLDER}: take it from git.")
    return [line for made in _made(known) for line in made.differs]


def _made(known: Sequence[EvidenceRun]) -> Iterator[Made]:
    """Yield each file that is made from the evidence."""
    for study in studies.DECLARED:
        results = runs_of(study, known)
        # Of those that are still trained, from a look on.
        if study in studies.FULL or has_been_looked_at(study, results):
            yield _report(study, results)
    for name, drawn in quoted_figures.FIGURES.items():
        if figure := drawn(known):
            yield _figure(evidence.FOLDER.parent / name, figure)
    for pattern in PAGES:
        for page in sorted(PROJECT.glob(pattern)):
            if page.name[0] != "." and "<!--evidence:" in page.read_text():
                yield _page(page, known)


def _report(study: Study, results: Sequence[RunResult]) -> Made:
    report = report_of(study, results)
    folder = evidence.FOLDER.parent / study.budget.partition(":")[0] / study.name
    file = folder / "report.json"
    same = _same(report.to_json(), json.loads(file.read_text()) if file.exists() else None)
    differs = [] if same else [f"{file} is not what the evidence gives"]
    return Made(folder / "README.md", differs, lambda: publish.write_report(report, results, folder))


def _figure(file: Path, drawn: Drawn) -> Made:
    def write() -> None:
        image = io.BytesIO()
        drawn.draw().savefig(image, dpi=120, metadata={NUMBERS: drawn.numbers})
        write_atomically(file, image.getvalue())

    same = _numbers_in(file) == drawn.numbers
    return Made(file, [] if same else [f"{file} is not drawn from the numbers that the evidence gives"], write)


def _numbers_in(file: Path) -> str:
    """Return the numbers that a figure says it was drawn from, empty if there is no such figure."""
    if not file.exists():
        return ""
    with Image.open(file) as image:
        return str(image.info.get(NUMBERS, ""))


def _page(page: Path, known: Sequence[EvidenceRun]) -> Made:
    text = page.read_text()
    made = filled(text, quoted.BLOCKS, known)
    lines = zip(text.splitlines(), made.splitlines(), strict=False)
    differs = [
        f"{page.name} says {is_there!r}, the evidence {wanted!r}" for is_there, wanted in lines if is_there != wanted
    ][:5]
    if text.count("\n") != made.count("\n"):
        differs.append(f"{page.name} has other lines than the evidence gives")
    return Made(page, differs, lambda: write_atomically(page, made.encode()))


def _same(one: Any, other: Any) -> bool:
    """Whether two documents are equal, numbers within TOLERANCE."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
