"""Groups of any runs, compared: the table, the answer in a sentence, the forest plot, and a page with all of them."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from harness.analysis.any_runs import GroupComparison, GroupRow
from harness.reporting.console import print_command, print_line
from harness.reporting.forest import MARKS, UNDECIDED
from harness.reporting.page.render import fill_template
from harness.reporting.tables import NOTHING, Table, p_value
from harness.reporting.text import print_table


@dataclass(frozen=True)
class Asked:
    """What was compared. `block` is empty where runs are not paired; `source` says where they came from."""

    metric: str
    group_by: str
    baseline: str
    block: str
    higher_is_better: bool
    source: str
    command: str

    @property
    def question(self) -> str:
        return f"Does {self.group_by} change {self.metric}?"

    @property
    def method(self) -> str:
        test = f"paired t test over {self.block}" if self.block else "Welch's t test, runs not paired"
        way = "higher" if self.higher_is_better else "lower"
        return f"{test}; p adjusted over all groups (Holm), intervals with it, 95 % or more; {way} is better"


def table(asked: Asked, compared: GroupComparison) -> Table:
    """A row a group, the baseline first."""
    header = [asked.group_by, "n", f"{asked.metric}\nmean ± sd", "difference\n[interval]", "p (Holm)", "verdict"]
    rows = []
    for row in compared.rows:
        mean = f"{row.mean:.4g}" + (f" ± {row.sd:.2g}" if row.sd is not None else "")
        p = p_value(row.p_holm) if row.p_holm is not None else NOTHING
        n = f"{row.n}" if row.pairs in (None, row.n) else f"{row.n} ({row.pairs} pairs)"
        rows.append([row.group, n, mean, _difference(row) or NOTHING, p, row.verdict or "baseline"])
    return Table(asked.question, header, rows, [asked.method])


def _difference(row: GroupRow) -> str:
    if row.difference is None:
        return ""
    return f"{row.difference:+.3g}" + (" [{:+.3g}, {:+.3g}]".format(*row.interval) if row.interval else "")


def answer(asked: Asked, compared: GroupComparison) -> str:
    """The answer in one or two sentences."""
    said = []
    for verdict, words in {
        "better": "better than", "worse": "worse than", "undecided": "not told apart from",
    }.items():  # fmt: skip
        named = [f"{row.group} ({_difference(row)})" for row in compared.rows if row.verdict == verdict]
        if named:
            said.append(f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} {words} {asked.baseline}.")
    few = [row.group for row in compared.rows if row.verdict in ("too few runs", "no spread")]
    if few:
        said.append(f"No test of {', '.join(few)}: it takes two runs or pairs that differ.")
    return " ".join(said) or f"There is no group beside {asked.baseline}."


def forest(asked: Asked, compared: GroupComparison) -> Figure:
    """The differences with their intervals, in the unit of the metric."""
    rows = [(row, row.difference) for row in compared.rows if row.difference is not None]
    figure = Figure(figsize=(7.5, 1.4 + 0.42 * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#888888", lw=0.8)
    for y, (row, difference) in enumerate(rows):
        colour, shape = MARKS.get(row.verdict or "", UNDECIDED)
        if row.interval:
            axes.plot(row.interval, [y, y], color=colour, lw=2, solid_capstyle="butt")
        axes.plot(difference, y, color=colour, marker=shape, ms=7)
    axes.set_yticks(range(len(rows)), [f"{row.group}: {row.verdict}" for row, _ in rows])
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_xlabel(f"{asked.metric} minus that of {asked.baseline}")
    return figure


def page(asked: Asked, compared: GroupComparison) -> str:
    """One HTML file that asks nothing of any other place."""
    picture = io.StringIO()
    forest(asked, compared).savefig(picture, format="svg", metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)", "", picture.getvalue(), flags=re.DOTALL)
    return fill_template(
        "any_runs.html.j2",
        asked=asked,
        answer=answer(asked, compared),
        table=table(asked, compared),
        left_out=compared.left_out,
        figure=Markup(svg),
    )


def print_comparison(asked: Asked, compared: GroupComparison, places: Sequence[Path]) -> None:
    """The comparison in the terminal; what matters most comes last."""
    print_table(table(asked, compared))
    for sentence in compared.left_out:
        print_line(f"  not used: {sentence}")
    for place in places:
        print_line(f"  {place}")
    print_line(answer(asked, compared), "bold")
    print_command(asked.command)
