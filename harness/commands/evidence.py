"""`harness evidence`: collect finished runs, make what the docs quote of them, and compare it with what is there."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.stats import Compared
from harness.analysis.studies import Study, has_been_looked_at, progress, report_of, runs_of
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.reporting.console import log, print_line, print_rows
from harness.reporting.quoted import Difference, filled
from harness.runs import evidence
from harness.runs.bundle import read_bundle
from harness.runs.evidence import EvidenceRun, evidence_of
from harness.runs.spec import RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

    from experiments import quoted, studies
    from harness.reporting import calibration, evidence_figures, publish, run_figures
else:
    # Pillow, matplotlib and pandas are slow to import.
    Image = lazy_import("PIL.Image")
    quoted = lazy_import("experiments.quoted")
    studies = lazy_import("experiments.studies")
    calibration = lazy_import("harness.reporting.calibration")
    publish = lazy_import("harness.reporting.publish")
    evidence_figures = lazy_import("harness.reporting.evidence_figures")
    run_figures = lazy_import("harness.reporting.run_figures")

#: The pages that may have blocks.
PAGES = ("README.md", "docs/*.md", "experiments/results/*/README.md")

#: Where a figure holds the numbers that it was drawn from.
NUMBERS = "Description"

#: Reports are compared number by number. Another library version may change the last digits.
TOLERANCE = 1e-6


def add(folders: Sequence[Path], commit: str | None) -> dict[str, Any]:
    """Add the runs of bundles to the evidence. Return how many are new, and why others were refused."""
    found, refused, read = [], [], 0
    known = {evidence.identity(run): run.result.weights_sha256 for run in evidence.read()}
    for folder in folders:
        bundles = sorted(file.parent for file in folder.glob("**/bundle.json"))
        if not bundles:
            raise BadInput(f"{folder} has no bundles: give the folder that was given to `harness run --offline`.")
        for bundle in bundles:
            try:
                sealed = read_bundle(bundle)
                identity, weights = evidence.identity(sealed), sealed.result.weights_sha256
                if identity not in known:
                    found.append(evidence_of(sealed, commit))
                    known[identity] = weights
                elif known[identity] != weights:
                    raise BadInput(f"{bundle} has another result than the evidence for the same run and device.")
                read += 1
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
    for study in studies.DECLARED:
        done, planned = progress(study, runs_of(study, known))
        rows.append({"study": study.name, "runs": done, "of": planned, "command": study.options.command})
    return {"studies": rows, "runs": len(known)}


def print_status(document: dict[str, Any]) -> None:
    """Print the document of `status`."""
    rows = [[row["study"], f"{row['runs']} of {row['of']}", row["command"]] for row in document["studies"]]
    print_rows(["study", "runs", "command"], rows)
    print_line(f"  {document['runs']} runs in {evidence.FOLDER}")


def publish_all() -> list[Path]:
    """Write every report and every block from the evidence; return the files that changed."""
    known = evidence.read()
    changed = []
    for study, results in _published(known):
        report, folder = report_of(study, results), _folder(study)
        if not _same(report.to_json(), _committed(folder)):
            changed.append(publish.write_report(report, results, folder))
    for file, numbers, draw in _figures(known):
        if _numbers_in(file) != numbers:
            image = io.BytesIO()
            draw().savefig(image, dpi=120, metadata={NUMBERS: numbers})
            write_atomically(file, image.getvalue())
            changed.append(file)
    for page, text, made in _pages(known):
        if text != made:
            write_atomically(page, made.encode())
            changed.append(page)
    return changed


def _figures(known: Sequence[EvidenceRun]) -> Iterator[tuple[Path, str, Callable[[], "Figure"]]]:
    """Yield each figure over several studies: its file, the numbers in it as text, and what draws it."""
    sizes = quoted.by_size(known)
    if any(len(each) > 1 for each in sizes.values()):
        file = evidence.FOLDER.parent / "quick" / "size-curve.png"
        numbers = _as_shown({variant: [(at, at.compared) for at in points] for variant, points in sizes.items()})
        yield file, numbers, lambda: evidence_figures.size_curve(sizes, quoted.AT_EACH_SIZE)
    answers = {claim: quoted.found(question, known) for question, claim in quoted.CLAIMS.items()}
    file = evidence.FOLDER.parent / "answers.png"
    yield file, _as_shown(answers), lambda: evidence_figures.answers(answers, quoted.AT_FULL_SIZE)
    if document := quoted.calibrated(known):
        file = evidence.FOLDER.parent / "quick" / "calibration.png"
        yield file, "\n".join(calibration.sentences(document)), partial(calibration.figure, document)
    for run in runs_of(studies.PUBLISHED, known):
        file = evidence.FOLDER.parent / "full" / "published.png"
        history, title = run.history, "published, 200 epochs, one seed: JAX, bfloat16, one NVIDIA H200"
        shown = "\n".join(f"{row['train_accuracy']:.4f} {row['test_accuracy']:.4f}" for row in history)
        yield file, shown, partial(run_figures.curves, history, "accuracy", title, fair=True)


def _as_shown(rows: Mapping[str, Sequence[tuple[object, Difference | Compared]]]) -> str:
    """Return differences as text, rounded: another library version may change their last digits."""
    return "\n".join(f"{of}, {name}: {each}, n = {each.n}" for of, found in rows.items() for name, each in found)


def _numbers_in(file: Path) -> str:
    """Return the numbers that a figure says it was drawn from, empty if there is no such figure."""
    if not file.exists():
        return ""
    with Image.open(file) as image:
        return str(image.info.get(NUMBERS, ""))


def verify() -> list[str]:
    """Return what differs from what the evidence gives, one line each."""
    known = evidence.read()
    if not known:
        raise BadInput(f"There is no evidence in {evidence.FOLDER}: take it from git.")
    wrong = []
    for study, results in _published(known):
        if not _same(report_of(study, results).to_json(), _committed(_folder(study))):
            wrong.append(f"{_folder(study) / 'report.json'} is not what the evidence gives")
    for file, numbers, _ in _figures(known):
        if _numbers_in(file) != numbers:
            wrong.append(f"{file} is not drawn from the numbers that the evidence gives")
    for page, text, made in _pages(known):
        lines = zip(text.splitlines(), made.splitlines(), strict=False)
        wrong += [f"{page.name} says {is_there!r}, the evidence {wanted!r}" for is_there, wanted in lines
                  if is_there != wanted][:5]  # fmt: skip
        if text != made and text.count("\n") != made.count("\n"):
            wrong.append(f"{page.name} has other lines than the evidence gives")
    return wrong


def _published(known: Sequence[EvidenceRun]) -> Iterator[tuple[Study, list[RunResult]]]:
    """Yield each study whose report is published, with its runs: of those that are still trained, from a look on."""
    for study in studies.DECLARED:
        results = runs_of(study, known)
        if study in studies.FULL or has_been_looked_at(study, results):
            yield study, results


def _folder(study: Study) -> Path:
    return evidence.FOLDER.parent / study.budget.partition(":")[0] / study.name


def _committed(folder: Path) -> Any:
    file = folder / "report.json"
    return json.loads(file.read_text()) if file.exists() else None


def _pages(known: Sequence[EvidenceRun]) -> Iterator[tuple[Path, str, str]]:
    """Yield each page that has blocks: its file, its text, and what its text should be."""
    pages = [file for pattern in PAGES for file in sorted(PROJECT.glob(pattern)) if file.name[0] != "."]
    for page in pages:
        text = page.read_text()
        if "<!--evidence:" in text:
            yield page, text, filled(text, quoted.BLOCKS, known)


def _same(one: Any, other: Any) -> bool:
    """Whether two documents are equal, numbers within TOLERANCE."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
