"""`harness record`: enter finished runs into the ledger, and write the page that shows it."""

import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.analysis import ledger
from harness.analysis.ledger import Decision, Idea, TriedRun, Try
from harness.analysis.stats import CHANCE
from harness.common import paths
from harness.common.documents import parse, read_bytes
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.config import RunConfig, change, parse_changes
from harness.published import TRAIN_IMAGES
from harness.recipes import recipe_called
from harness.reporting.console import print_line, print_rows
from harness.reporting.ledger_page import ledger_page
from harness.runs.folder import run_at
from harness.runs.records import History, Result
from harness.runs.spec import run_spec_from_json

#: Training images of each split: the ledger is about all of CIFAR-10.
ALL_IMAGES = {"final": TRAIN_IMAGES, "tune": 45_000}

PAGE = paths.PROJECT / "docs" / "records.md"


@dataclass(frozen=True)
class Selection:
    """Which finished runs are entered: those of a recipe with some changes on a split, whatever their seed.

    vary: settings that may have any value; each combination of values is a try.
    """

    split: str
    recipe: str
    changes: Mapping[str, Any]
    vary: Sequence[str]

    def matches(self, config: RunConfig) -> bool:
        """Whether a run is one of them."""
        network, recipe = change(*recipe_called(self.recipe), self.changes)
        wanted, found = vars(network) | vars(recipe), vars(config.network) | vars(config.recipe)
        same = all(found[name] == value for name, value in wanted.items() if name not in self.vary)
        everything = config.train_images == ALL_IMAGES[config.split] and config.data.startswith("cifar10")
        return same and everything and config.split == self.split


@dataclass(frozen=True)
class Row:
    """A line of a file of runs, as `python -m experiments.gpu.rows` writes it. spec: a RunSpec as JSON."""

    run_key: str
    spec: dict[str, Any]
    result: Result
    history: History
    begun: int
    ended: int
    environment: dict[str, str]


def record(
    name: str, text: str, sources: Sequence[Path], selection: Selection, decision: Decision, commit: str | None
) -> dict[str, Any]:
    """Enter the selected runs of some sources under an idea, and write its file; return a document about it.

    text: the idea in a sentence; may be empty if the idea is in the ledger. sources: folders with run folders in them,
    or files of rows (experiments/gpu/rows.py). commit: replaces the one that the runs name. Raises BadInput if there is
    no such run, or if a rule of the ledger forbids the entry.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise BadInput(f"{name!r} cannot name an idea: take small letters and digits, with - between words.")
    _check(selection, decision)
    known = ledger.read_ledger()
    if not text and name not in known:
        raise BadInput(f"The idea {name} is new: say what it is with --idea.")
    known[name] = Idea(text or known[name].text, known[name].tries if name in known else ())
    tries = _tries(sources, selection, decision, commit)
    for each in tries:
        known = ledger.entered(known, name, each)
    file = ledger.write(name, known[name])
    return {
        "file": str(file),
        "tries": [dataclasses.asdict(ledger.written(each)) for each in tries],
        "page": str(write_page()),
    }


def _check(selection: Selection, decision: Decision) -> None:
    if selection.split not in ALL_IMAGES:
        raise BadInput(f"There is no split {selection.split!r}: --split is tune or final.")
    network, recipe = recipe_called(selection.recipe)
    # Raises for an unknown setting.
    parse_changes({name: (vars(network) | vars(recipe)).get(name) for name in selection.vary})
    if selection.split == "final" and selection.vary:
        raise BadInput("A look at the test images is one at one setting: leave --vary out.")
    if selection.split == "final" and decision != "undecided":
        raise BadInput("What a look at the test images says is computed: leave --decision out.")


def _tries(sources: Sequence[Path], selection: Selection, decision: Decision, commit: str | None) -> list[Try]:
    found: dict[RunConfig, dict[int, TriedRun]] = {}
    for source in sources:
        for config, run in _finished(source, commit):
            if selection.matches(config):
                runs = found.setdefault(dataclasses.replace(config, seed=0), {})
                if runs.setdefault(config.seed, run).accuracy != run.accuracy:
                    raise BadInput(f"Run {config.key} has two results in {', '.join(map(str, sources))}: name one.")
    if not found:
        raise BadInput(
            f"No finished run on all images of CIFAR-10, split {selection.split}, in {', '.join(map(str, sources))} "
            f"has these settings. What a run has is in its config.json."
        )
    if selection.split == "final" and len(found) > 1:
        kinds = "; ".join(f"{each.engine} {each.precision}, code {each.source}" for each in found)
        raise BadInput(f"These are {len(found)} looks ({kinds}): name a folder or file with one of them.")
    chosen: Decision = "look" if selection.split == "final" else decision
    return [Try(config, tuple(runs[seed] for seed in sorted(runs)), chosen) for config, runs in found.items()]


def _tried(config: RunConfig, result: Result, begun: int, tags: Mapping[str, str], commit: str | None) -> TriedRun:
    diverged = result.status == "diverged"
    named = tags.get("git_commit", "")[:7] + (", modified" if tags.get("git_dirty") == "true" else "")
    return TriedRun(
        seed=config.seed,
        run_key=config.key,
        accuracy=CHANCE if diverged else result.metrics["accuracy"],
        diverged=diverged,
        hardware=tags.get("device") or tags.get("cpu", "unknown"),
        commit=commit or named,
        date=datetime.fromtimestamp(begun / 1000, UTC).date().isoformat(),
    )


def _finished(source: Path, commit: str | None) -> Iterator[tuple[RunConfig, TriedRun]]:
    """Yield every finished run in a folder or a file of rows."""
    try:
        if source.is_dir():
            for file in sorted(source.rglob("result.json")):
                # Through its seal: what is damaged is refused by name.
                folder = run_at(file.parent)
                result, where = folder.result(), folder.environment()
                if result is None or where is None:
                    raise BadInput(f"{folder.path} lacks its result or its environment.json: copy it again.")
                yield folder.config, _tried(folder.config, result, where.begun, where.tags, commit)
            return
        content = read_bytes(source)
        for line in (gzip.decompress(content) if source.suffix == ".gz" else content).decode().splitlines():
            row: Row = parse(line, Row)
            config = run_spec_from_json(json.dumps(row.spec)).config
            yield config, _tried(config, row.result, row.begun, row.environment, commit)
    except BadInput:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise BadInput(
            f"{source} holds no finished runs ({error}): name a folder of runs, as mlruns/runs, or a file that "
            f"`python -m experiments.gpu.rows` wrote."
        ) from error


def write_page() -> Path:
    """Write docs/records.md from the ledger."""
    write_atomically(PAGE, ledger_page(ledger.read_ledger()).encode())
    return PAGE


def print_record(document: dict[str, Any]) -> None:
    """Print the tries that were entered."""
    rows = [
        [each["changes"], str(each["epochs"]), each["split"], str(each["n"]), f"{each['mean']:.4f}", each["decision"]]
        for each in document["tries"]
    ]
    print_rows(["changes", "epochs", "split", "n", "mean", "decision"], rows)
    print_line(f"  {document['file']}, {document['page']}")
