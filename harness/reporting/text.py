"""An answer to read: in the terminal, and as a Markdown page."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import rich.box
import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from harness.reporting import sentences
from harness.reporting.console import out
from harness.reporting.tables import NOTHING, Table, tables
from harness.tracking.provenance import provenance

STYLES = {
    "supported": "bold green",
    "refuted": "bold red",
    "inconclusive": "bold yellow",
    "exceeds": "bold green",
    "below": "bold red",
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
}

CAPTIONS = {
    "forest": "Difference to the baseline with its 95 % interval; shaded: differences that count as none",
    "effects": "Main effects and interactions with their 95 % intervals",
    "curves": "Accuracy by epoch: mean and range over the seeds, over the published curve",
    "gradient_flow": "Norm of the loss gradient by layer and epoch, first layer on top",
    "tuning": "Validation accuracy by learning rate",
}


def print_answer(document: dict[str, Any]) -> None:
    """The answer in the terminal; what matters most comes last, where a reader's eyes are."""
    print_line(document["question"], "bold")
    print_line(sentences.context(document), "dim")
    for table in tables(document):
        out.print()
        print_table(table)
    out.print()
    for reservation in sentences.reservations(document):
        print_line(f"! {reservation}", "yellow")
    for verdict, because in sentences.findings(document):
        out.print(Text.assemble((verdict, STYLES.get(verdict, "bold")), f": {because}"), soft_wrap=True)
    print_line(sentences.cost(document), "dim")
    for place in filter(None, (document.get("folder"), document.get("url"))):
        print_line(f"  {place}", "")


def markdown(document: dict[str, Any], figures: Sequence[str]) -> str:
    """The answer as a page of its own, which embeds the figures by name."""
    parts = [
        f"# {_escaped(document['question'])}",
        "\n".join(f"- **{verdict}**: {_escaped(because)}" for verdict, because in sentences.findings(document)),
        _escaped(sentences.context(document)),
        "\n".join(f"- {_escaped(reservation)}" for reservation in sentences.reservations(document)),
        *(markdown_table(table) for table in tables(document)),
        *(f"![{CAPTIONS[figure.partition('.')[0]]}]({figure})" for figure in figures),
        "## How to make this again",
        f"    {sentences.command(document)}",
        origin(document),
        f"<details><summary>All {sentences.cost(document)}</summary>",
        markdown_table(_runs(document)),
        "</details>",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def print_line(text: str, style: str) -> None:
    """One line of text in a style of rich's."""
    # Names and paths are shown as they are: brackets in them are no markup, and a link must not be broken.
    out.print(Text(text, style), soft_wrap=True)


def print_table(table: Table) -> None:
    """A table, in as many blocks as the terminal's width asks for."""
    print_line(table.title, "bold")
    # A pipe has no width: what goes into a file is not broken to fit a terminal.
    console = out if out.is_terminal else Console(width=10_000, markup=False, emoji=False)
    for block in _blocks(table, console.width):
        shown = rich.table.Table(*(table.header[i] for i in block), box=rich.box.SIMPLE_HEAD, show_edge=False)
        for row in table.rows:
            shown.add_row(*(Text(row[i], STYLES.get(row[i], "")) for i in block))
        console.print(shown)
    for note in table.notes:
        print_line(note, "dim")


def _blocks(table: Table, width: int) -> Iterator[list[int]]:
    """The columns in blocks that fit side by side, the first one in each of them."""
    first, *others = (
        max(cell_len(line) for cell in column for line in cell.splitlines()) + 3
        for column in zip(table.header, *table.rows, strict=True)
    )
    block, taken = [0], first
    for i, needed in enumerate(others, start=1):
        if taken + needed > width and len(block) > 1:
            yield block
            block, taken = [0], first
        block.append(i)
        taken += needed
    yield block


def markdown_table(table: Table) -> str:
    """A table as git hosts show it."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    title = [f"### {_escaped(table.title)}"] if table.title else []
    body = "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)
    return "\n\n".join([*title, body, *map(_escaped, table.notes)])


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, also within a table."""
    for special in "\\|<*_":
        text = text.replace(special, f"\\{special}")
    return text.replace("\n", " ")


def _runs(document: dict[str, Any]) -> Table:
    rows = []
    for run in document["runs"]:
        accuracy = NOTHING if run["accuracy"] is None else f"{run['accuracy']:.4f}"
        tracked = f"[{run['mlflow_run_id'][:8]}]({run['url']})" if run["url"] else NOTHING
        rows.append([run["name"], run["phase"], run["status"], accuracy, run["run_key"], tracked])
    return Table("", ["run", "phase", "ended", "accuracy", "run key", "in MLflow"], rows, [])


def origin(document: dict[str, Any]) -> str:
    """When and where the page was written, by which code."""
    known = provenance()
    versions = [
        f"{name.removeprefix('version_')} {known[name]}" for name in sorted(known) if name.startswith("version_")
    ]
    commit = known.get("git_commit", "")[:12]
    changed = " with uncommitted changes" if known.get("git_dirty") == "true" else ""
    code = f"commit {commit}{changed}, " if commit else ""
    return (
        f"Written on {time.strftime('%Y-%m-%d')}, {known['cpu']}; {code}code of the numbers {document['source']} "
        f"({document['engine']} engine); {', '.join(versions)}. Data {document['data']}, sha256 "
        f"{document['data_fingerprint'][:16]}."
    )
