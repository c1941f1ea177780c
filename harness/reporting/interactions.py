"""The interactions of a factorial experiment: for each two factors the four means. Parallel lines: no interaction."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from harness.analysis.make_report import accuracies, grouped
from harness.analysis.report import Report
from harness.common.rounded import points
from harness.experiment import factorial_name
from harness.reporting.sentences import about
from harness.runs.spec import RunResult

#: How the second factor's line is drawn when that factor is off, and when it is on: colour, line, marker.
OFF = ("#D55E00", "--", "o")
ON = ("#0072B2", "-", "s")


@dataclass(frozen=True)
class Panel:
    """Two factors. `off` and `on` are mean accuracies, first with `along` off, then with it on, at `by` off and on."""

    along: str
    by: str
    title: str
    off: tuple[float, float]
    on: tuple[float, float]


def panels(report: Report, results: Sequence[RunResult]) -> dict[str, list[Panel]]:
    """A panel for each two factors, by phase; means are over seeds and over the levels of the other factors.

    They are those of the same runs as the effects; empty where the report has no effects.
    """
    groups = grouped(results)
    found: dict[str, list[Panel]] = {}
    for phase in dict.fromkeys(each.phase for each in report.effects):
        effects = {each.effect: each for each in report.effects if each.phase == phase}
        factors = [name for name in effects if " x " not in name]
        cells = {off: accuracies(groups[phase, factorial_name(off)]) for off in _subsets(factors)}
        # Of cells that stopped at different looks the effects take the first seeds, which all have.
        common = [seed for seed in cells[()] if all(seed in values for values in cells.values())]
        seeds = common[: effects[factors[0]].n]
        means = {off: statistics.mean(values[seed] for seed in seeds) for off, values in cells.items()}
        for along, by in itertools.combinations(factors, 2):
            four = {
                (first, second): statistics.mean(
                    mean for off, mean in means.items() if (along not in off, by not in off) == (first, second)
                )
                for first, second in itertools.product((False, True), repeat=2)
            }
            both = effects[f"{along} x {by}"]
            title = f"{both.effect}: {points(both.mean, both.interval)}"
            off, on = ((four[False, level], four[True, level]) for level in (False, True))
            found.setdefault(phase, []).append(Panel(along, by, title, off, on))
    return found


def _subsets(factors: Sequence[str]) -> list[tuple[str, ...]]:
    return [off for size in range(len(factors) + 1) for off in itertools.combinations(factors, size)]


def interactions(report: Report, results: Sequence[RunResult]) -> Figure | None:
    """The panels, a row for each phase."""
    by_phase = panels(report, results)
    if not any(by_phase.values()):
        return None
    columns = max(map(len, by_phase.values()))
    figure = Figure(figsize=(1.0 + 3.4 * columns, 1.1 + 3.0 * len(by_phase)), layout="constrained")
    figure.suptitle(
        f"{report.experiment}: mean {report.judged} accuracy; parallel lines: no interaction\n{about(report)}",
        fontsize=10,
    )
    grid = figure.subplots(len(by_phase), columns, sharey=True, squeeze=False)
    for line, (phase, found) in zip(grid, by_phase.items(), strict=True):
        for axes, panel in zip(line, found, strict=False):
            for label, values, (colour, style, marker) in (("off", panel.off, OFF), ("on", panel.on, ON)):
                axes.plot(
                    [0, 1], [100 * value for value in values], color=colour, ls=style, marker=marker,
                    label=f"{panel.by} {label}",
                )  # fmt: skip
            axes.set_xticks([0, 1], [f"{panel.along} off", f"{panel.along} on"])
            axes.set_xlim(-0.25, 1.25)
            axes.set_title(panel.title if len(by_phase) == 1 else f"{phase}, {panel.title}", fontsize=9)
            axes.grid(axis="y", alpha=0.25)
            axes.legend(fontsize=8)
        line[0].set_ylabel("accuracy, %")
    return figure
