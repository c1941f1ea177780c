"""A report to read: in the terminal, and as a Markdown page."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import rich.table
from rich import box
from rich.cells import cell_len
from rich.table import Column
from rich.text import Text

from harness import published
from harness.analysis.report import Report, RunRow, VariantRow
from harness.common import rounded
from harness.reporting import sentences, summary
from harness.reporting.console import duration, out, print_command, print_line, print_rows
from harness.reporting.tables import NOTHING, Table, differences, tables
from harness.runs.records import version_texts
from harness.tracking.provenance import provenance

STYLES = {
    "supported": "bold green",
    "refuted": "bold red",
    "undecided": "bold yellow",
    "exceeds": "bold green",
    "below": "bold red",
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
}

CAPTIONS = {
    "forest": "Difference to the baseline with its interval at Holm's level; shaded: differences that count as none",
    "effects": "Main effects and interactions with their 95 % intervals",
    "interactions": "Means of each two factors: parallel lines, no interaction",
    "curves": "Accuracy by epoch: mean and range over the seeds, over the published curve",
    "gradient_flow": "Norm of the loss gradient by layer and epoch, first layer on top",
    "tuning": "Validation accuracy by learning rate",
}


def print_report(report: Report, *, details: bool = False) -> None:
    """The report in the terminal: the differences, and last, where a reader's eyes are, what they come to.

    details: all tables, and what became of every prediction.
    """
    print_line(report.question, "bold")
    print_line(sentences.context(report), "dim")
    print_line(sentences.baseline(report), "dim")
    for table in tables(report) if details else differences(report):
        out.print()
        print_table(table)
    out.print()
    for reservation in sentences.reservations(report):
        print_line(f"! {reservation}", "yellow")
    for word, because in sentences.findings(report):
        if details or word not in summary.SCORES:
            print_line(Text.assemble((summary.SCORES.get(word, word), STYLES.get(word, "bold")), f": {because}"))
    if details:
        print_line(sentences.cost(report), "dim")
    for place in filter(None, (report.folder, report.url)):
        print_line(f"  {place}")
    words, command = summary.next_step(report)
    print_line(summary.answer(report), "bold")
    for sentence in filter(None, (*summary.caveats(report), summary.differences(report), words)):
        print_line(sentence)
    if command:
        print_command(command)
    if not details:
        print_line("All tables:", "dim")
        print_command(f"{sentences.again(report)} --details")


def print_single(report: Report) -> None:
    """The report of one variant alone, as `harness run baseline` ends: against the targets, and run by run."""
    for run in report.runs:
        if run.status == "diverged":
            print_line(Text.assemble((f"{run.name} diverged", "bold red"), f": {run.reason}."))
    for variant in report.variants:
        if variant.n > variant.diverged:
            _print_against_targets(report, variant)
            # Runs that were named by their keys have neither recipe nor budget.
            budget = f"{report.budget} budget" if report.recipe else ""
            what = [report.data, budget, f"{report.split} split"]
            what += [f"{variant.epochs} epoch{'s' * (variant.epochs != 1)}", report.precision, variant.note]
            print_line("  " + " · ".join(filter(None, what)))
    if any(run.trained for run in report.runs) and all(v.n < 2 and v.compared for v in report.variants):
        print_line("  One run is no verdict. Ten give one:")
        print_command(sentences.command(report, seeds=list(range(10))))
    for run in report.runs:
        _print_run(run, held_against_published=report.recipe == "published")


def _print_against_targets(report: Report, variant: VariantRow) -> None:
    rows = []
    for label, measured, target, theirs in (
        ("accuracy", variant.accuracy, f"≥ {published.ACCURACY_TARGET:.2f}", "test_accuracy"),
        ("cross-entropy", variant.cross_entropy, f"< {published.CROSS_ENTROPY_TARGET:.2f}", "test_loss"),
    ):
        if measured:
            number = rounded.accuracy(measured.mean, measured.interval, "  ")
            compared = [target, f"{published.final()[theirs]:.3f}"] if variant.compared else [NOTHING, NOTHING]
            verdict: str = measured.verdict
            if verdict in ("exceeds", "below"):
                verdict = f"{verdict} {target.split()[1]}"
            rows.append([label, number, *compared, verdict])
    recipe = f" · recipe {report.recipe}" if report.recipe else ""
    title = f"{variant.variant}{recipe} · n = {variant.n}"
    print_rows(["", "this network", "target", "published", "verdict"], rows, title)


def _print_run(run: RunRow, *, held_against_published: bool) -> None:
    print_line(f"  {run.name}  run {run.run_key}")
    if run.training_seconds:
        print_line(f"    {_cost(run, run.training_seconds)}")
    apart = run.distance_to_published
    if apart and held_against_published:
        later = apart.largest_after_start
        after = "" if later is None else f", at most {later:.3f} after epoch {published.START}"
        print_line(
            f"    test accuracy is {apart.mean:.3f} from the published curve over {apart.epochs} epochs, "
            f"at most {apart.largest:.3f} (epoch {apart.epoch}){after}"
        )
        for accuracy, (here, there) in apart.first.items():
            when = f"first in epoch {here}" if here else "in no epoch"
            print_line(f"    {accuracy} on the test images {when} (published: {there})")
    # A run that is trained offline has none until it is imported.
    if run.artifacts and any(Path(run.artifacts).glob("[!.]*.png")):
        print_line(f"    figures {run.artifacts}")
    if run.url:
        print_line(f"    {'`make ui`, then ' if '//127.0.0.1:' in run.url else ''}{run.url}")


def _cost(run: RunRow, training_seconds: float) -> str:
    cost = f"{run.pflop:.3f} PFLOP in {duration(training_seconds)}"
    if not run.trained:
        return f"{cost}; was done already"
    if run.tracking_seconds is None:
        return f"{cost}; a bundle, for `harness sync`"
    share = run.tracking_seconds / (training_seconds + run.tracking_seconds)
    return f"{cost}; tracking took {run.tracking_seconds:.1f} s, {share:.1%} of the time"


def markdown(report: Report, figures: Sequence[str]) -> str:
    """The report as a page of its own, which embeds the figures by name."""
    findings = [(summary.SCORES.get(word, word), because) for word, because in sentences.findings(report)]
    parts = [
        f"# {escaped(report.question)}",
        escaped(sentences.baseline(report)),
        escaped(summary.answer(report)),
        escaped(" ".join(summary.caveats(report))),
        "\n".join(f"- **{word}**: {escaped(because)}" for word, because in findings),
        escaped(sentences.context(report)),
        "\n".join(f"- {escaped(reservation)}" for reservation in sentences.reservations(report)),
        *(markdown_table(table) for table in tables(report)),
        *(f"![{CAPTIONS[figure.partition('.')[0]]}]({figure})" for figure in figures),
        "## How to make this again",
        f"    {sentences.command(report)}",
        origin(report.engine, report.source, report.data, report.data_fingerprint),
        f"<details><summary>All {sentences.cost(report)}</summary>",
        markdown_table(_runs(report)),
        "</details>",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def print_table(table: Table) -> None:
    """A table, in as many blocks as the terminal's width asks for."""
    print_line(table.title, "bold")
    for block in _blocks(table, out.options.max_width):
        shown = rich.table.Table(*(Column(Text(table.header[i])) for i in block), box=box.SIMPLE_HEAD, show_edge=False)
        for row in table.rows:
            shown.add_row(*(Text(row[i], STYLES.get(row[i].partition("\n")[0], "")) for i in block))
        out.print(shown)
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
    title = [f"### {escaped(table.title)}"] if table.title else []
    body = "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)
    return "\n\n".join([*title, body, *map(escaped, table.notes)])


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, also within a table."""
    for special in "\\|<*_":
        text = text.replace(special, f"\\{special}")
    return text.replace("\n", " ")


def _runs(report: Report) -> Table:
    rows = []
    for run in report.runs:
        accuracy = NOTHING if run.accuracy is None else f"{run.accuracy:.4f}"
        tracked = f"[{run.mlflow_run_id[:8]}]({run.url})" if run.url else NOTHING
        rows.append([run.name, run.phase, run.status, accuracy, run.run_key, tracked])
    return Table("", ["run", "phase", "ended", "accuracy", "run key", "in MLflow"], rows, [])


def origin(engine: str, source: str, data: str, fingerprint: str) -> str:
    """When and where a page was written, by which code, about which data (the sha256 of its images)."""
    known = provenance()
    commit = known.get("git_commit", "")[:12]
    changed = " with uncommitted changes" if known.get("git_dirty") == "true" else ""
    code = f"commit {commit}{changed}, " if commit else ""
    return (
        f"Written on {time.strftime('%Y-%m-%d')}, {known['cpu']}; {code}code of the numbers {source} ({engine} "
        f"engine); {', '.join(version_texts(known))}. Data {data}, sha256 {fingerprint[:16]}."
    )
