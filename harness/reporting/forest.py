"""Forest plots: differences with their intervals, one below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis import ALPHA, MARGIN
from harness.analysis.report import EffectRow, Report
from harness.common.rounded import points, to_text
from harness.experiment import BASELINE
from harness.reporting.sentences import setting
from harness.reporting.tables import MEANING, failed, margin, p_value

#: Okabe & Ito's colours, told apart by all kinds of colour vision; and shapes, for those who print in grey. More than
#: the sum of two effects is neither better nor worse.
MARKS = {
    "better": ("#0072B2", "^"),
    "worse": ("#D55E00", "v"),
    "equivalent": ("#009E73", "s"),
    "interaction": ("#7B4FA3", "D"),
}
UNDECIDED = ("#666666", "o")

DIRECTIONS = "\N{LEFTWARDS ARROW} worse | better \N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class Line:
    """One difference, as accuracy; `mark` is a key of `MARKS` or another word, `comment` stands behind the numbers."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    mark: str
    comment: str


def comparison_lines(report: Report) -> dict[str, list[Line]]:
    """Every variant's difference to the baseline, by phase; without "retuned" where every rate is the recipe's own."""
    panels: dict[str, list[Line]] = {}
    own = {row.variant: row.learning_rate for row in report.rows("same recipe")}
    retuned = any(own.get(row.variant) != row.learning_rate for row in report.rows("retuned"))
    for row in report.variants:
        if (compared := row.against_baseline) and (row.phase != "retuned" or retuned):
            said = compared.verdict
            comment = ", ".join([said, *(failed(row) or [f"n = {compared.n}"])])
            line = Line(row.variant, compared.mean, compared.interval, said, comment)
            panels.setdefault(row.phase, []).append(line)
    return panels


def effect_lines(report: Report) -> dict[str, list[Line]]:
    """The main effects and interactions of a factorial experiment, by phase."""
    panels: dict[str, list[Line]] = {}
    for each in report.effects:
        comment = f"p = {p_value(each.p_holm)}, n = {each.n}"
        line = Line(each.effect, each.mean, each.interval, _mark(each), comment)
        panels.setdefault(each.phase, []).append(line)
    return panels


def _mark(effect: EffectRow) -> str:
    if effect.p_holm is None or effect.p_holm >= ALPHA:
        return "undecided"
    if " x " in effect.effect:
        return "interaction"
    return "better" if effect.mean > 0 else "worse"


def comparisons(report: Report) -> Figure | None:
    """The forest plot of the variants, under one recipe and retuned."""
    return _forest(
        report, comparison_lines(report), f"{report.judged} accuracy minus the baseline's, points; {bars(report)}"
    )


def effects(report: Report) -> Figure | None:
    """The forest plot of the effects of a factorial experiment."""
    label = f"effect of switching on, points of {report.judged} accuracy; 95 % intervals, p by Holm"
    return _forest(report, effect_lines(report), label)


def bars(report: Report) -> str:
    """What the bars of the comparisons are."""
    judged = any(row.against_baseline and row.against_baseline.p_holm is not None for row in report.variants)
    return "intervals at Holm's level, 95 % or more" if judged else "95 % intervals"


def is_shown(low: float, high: float) -> bool:
    """Whether the margin can be seen on an axis between these points."""
    return 0.03 * (high - low) < 200 * MARGIN


def baseline_accuracy(report: Report, phase: str) -> str:
    """The baseline's accuracy in per cent, as a title has it; empty where it has none."""
    for row in report.rows(phase):
        if row.variant == BASELINE and row.accuracy:
            return f"baseline {to_text(100 * row.accuracy.mean, 1)} %"
    return ""


def _forest(report: Report, panels: Mapping[str, Sequence[Line]], label: str) -> Figure | None:
    if not panels:
        return None
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    figure = Figure(figsize=(1.5 + 6.2 * len(panels), 2.1 + 0.42 * len(names)), layout="constrained")
    figure.suptitle(f"{report.experiment} · {setting(report)}", fontsize=10)
    ends = [100 * end for lines in panels.values() for line in lines for end in (line.mean, *(line.interval or ()))]
    low, high = min(*ends, -150 * MARGIN), max(*ends, 150 * MARGIN)
    room = 0.05 * (high - low)
    for axes, (phase, lines) in zip(
        figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        _panel(axes, lines, names)
        axes.set_xlim(low - room, high + room)
        title = ", ".join(filter(None, [f"{phase}: {MEANING[phase]}", baseline_accuracy(report, phase)]))
        axes.set_title(title, fontsize=9)
        axes.annotate(
            DIRECTIONS, (0, 0), (0, -20), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            va="top", fontsize=9,
        )  # fmt: skip
        shade = f"\nshaded: less than {margin()}, which counts as none" if is_shown(low, high) else ""
        axes.set_xlabel(label + shade, fontsize=9, labelpad=18)
    return figure


def _panel(axes: Axes, lines: Sequence[Line], names: list[str]) -> None:
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#dddddd", lw=0)
    axes.axvline(0, color="black", lw=0.8)
    for line in lines:
        y = names.index(line.name)
        colour, shape = MARKS.get(line.mark, UNDECIDED)
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
