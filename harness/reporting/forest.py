"""Forest plots: differences with their intervals, one below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis import ALPHA, MARGIN
from harness.analysis.report import EffectRow, Report
from harness.reporting.sentences import setting
from harness.reporting.tables import MEANING, p_value, points

#: Okabe & Ito's colours, told apart by all kinds of colour vision; and shapes, for those who print in grey.
MARKS = {
    "better": ("#0072B2", "^"),
    "worse": ("#D55E00", "v"),
    "equivalent": ("#009E73", "s"),
    "undecided": ("#666666", "o"),
    "too few seeds": ("#666666", "o"),
    "exploratory": ("#666666", "o"),
}

#: From this many points on, the axis is logarithmic but for the middle: else ten of them would hide half of one.
WIDE = 12.0
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)


@dataclass(frozen=True)
class Line:
    """One difference, as accuracy; `mark` is a key of `MARKS`, `comment` stands behind the numbers."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    mark: str
    comment: str


def comparisons(report: Report) -> Figure | None:
    """Every variant's difference to the baseline, under one recipe and retuned."""
    panels: dict[str, list[Line]] = {}
    for row in report.variants:
        if compared := row.against_baseline:
            said = compared.verdict
            line = Line(row.variant, compared.mean, compared.interval, said, f"{said}, n = {compared.n}")
            panels.setdefault(row.phase, []).append(line)
    return _forest(report, panels, "accuracy against the baseline, points")


def effects(report: Report) -> Figure | None:
    """The main effects and interactions of a factorial experiment."""
    panels: dict[str, list[Line]] = {}
    for each in report.effects:
        comment = f"p = {p_value(each.p_holm)}, n = {each.n}"
        line = Line(each.effect, each.mean, each.interval, _mark(each), comment)
        panels.setdefault(each.phase, []).append(line)
    return _forest(report, panels, "effect of switching on, points of accuracy (p: Holm)")


def _mark(effect: EffectRow) -> str:
    if effect.p_holm is None or effect.p_holm >= ALPHA:
        return "undecided"
    return "better" if effect.mean > 0 else "worse"


def _forest(report: Report, panels: Mapping[str, Sequence[Line]], label: str) -> Figure | None:
    if not panels:
        return None
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    figure = Figure(figsize=(1.5 + 6.2 * len(panels), 1.8 + 0.42 * len(names)), layout="constrained")
    figure.suptitle(f"{report.experiment} · {setting(report)}", fontsize=10)
    ends = [100 * end for lines in panels.values() for line in lines for end in (line.mean, *(line.interval or ()))]
    wide = max(map(abs, ends)) > WIDE
    for axes, (phase, lines) in zip(
        figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        _panel(axes, lines, names)
        axes.set_title(f"{phase}: {MEANING[phase]}", fontsize=9)
        if wide:
            axes.set_xscale("symlog", linthresh=1, linscale=0.5)
            low, high = axes.get_xlim()
            ticks = [tick for tick in TICKS if low <= tick <= high]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        scale = " (logarithmic beyond ±1)" if wide else ""
        axes.set_xlabel(f"{label}{scale}\nshaded: less than {100 * MARGIN:g}, which counts as none", fontsize=9)
    return figure


def _panel(axes: Axes, lines: Sequence[Line], names: list[str]) -> None:
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#dddddd", lw=0)
    axes.axvline(0, color="black", lw=0.8)
    for line in lines:
        y = names.index(line.name)
        colour, shape = MARKS[line.mark]
        if line.interval:
            axes.plot([100 * end for end in line.interval], [y, y], color=colour, lw=2, solid_capstyle="butt")
        axes.plot(100 * line.mean, y, color=colour, marker=shape, ms=7)
        axes.text(
            1.02, y, f"{points(line.mean, line.interval)}  {line.comment}", color=colour, fontsize=8, va="center",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)
