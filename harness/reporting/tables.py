"""The tables of a report: as text for readers, and flat for programs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import published
from harness.analysis import MARGIN, AgainstTarget, Compared
from harness.analysis.history import GEOMETRIC, Inside, Reached
from harness.analysis.images import ImagesRow
from harness.analysis.report import (
    LEVELS,
    EffectRow,
    Report,
    TunedVariant,
    VariantRow,
)
from harness.analysis.stats import CHANCE, STUCK
from harness.common.lazy import lazy_import
from harness.common.rounded import accuracy, points
from harness.metrics import EARLIER, INSIDE

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

MEANING = {
    "same recipe": "all trained with the same settings",
    "retuned": "every variant at the learning rate that suited it best",
}

#: Of what is measured inside the network.
NO_CAUSE = (
    "There is no verdict on why: what was measured inside the network goes along with a difference, and need not be "
    "its cause."
)

#: What stands where there is nothing to say.
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """Cells of text; a line break in one is where a narrow page may break it. `notes` stand below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def tables(report: Report) -> list[Table]:
    """All that have something to show."""
    grouped = [(phase, report.rows(phase)) for phase in MEANING]
    found = [_comparison(report, phase, members) for phase, members in grouped if members]
    found[-1:] = [dataclasses.replace(table, notes=table.notes + _method(report)) for table in found[-1:]]
    found += _settings(report)
    found += [_effects(phase, members) for phase in MEANING if (members := _effects_of(report, phase))]
    found += mechanism_tables(report)
    found += [_images(report, phase, images) for phase in MEANING if (images := _images_of(report, phase))]
    found += [_selection_bias(report)] if report.selection_bias else []
    return found + ([_tuning(report.tuning)] if report.tuning else [])


def differences(report: Report) -> list[Table]:
    """Of every phase what matters most, narrow: accuracy, the difference to the baseline, the verdict with failures."""
    found = []
    for phase in MEANING:
        if not (members := report.rows(phase)):
            continue
        columns = {"variant": [row.variant for row in members], "n": [str(row.n) for row in members]}
        columns["accuracy\n[95 % interval]"] = [_accuracy(row.accuracy, sd=False) for row in members]
        compared = [row.against_baseline for row in members]
        columns["points\n[interval]"] = [
            points(each.mean, each.interval, "\n") if each else NOTHING for each in compared
        ]
        columns["verdict"] = [_verdict(row) for row in members]
        found.append(_table(phase, columns, []))
    return found


def _table(phase: str, columns: Mapping[str, list[str]], notes: list[str]) -> Table:
    """The columns that have something to say."""
    told = {name: cells for name, cells in columns.items() if set(cells) != {NOTHING}}
    rows = [list(row) for row in zip(*told.values(), strict=True)]
    return Table(f"{phase}: {MEANING[phase]}", list(told), rows, notes)


def mechanism_tables(report: Report) -> list[Table]:
    """Those of what was measured inside the network, one for each phase."""
    grouped = [(phase, report.rows(phase)) for phase in MEANING]
    return [_mechanism(phase, members, report.measured_by) for phase, members in grouped if _measured(members)]


def seeds_needed(report: Report, phase: str) -> int | None:
    """How many seeds the first look takes, where a variant of the phase has too few; else None."""
    compared = [row.against_baseline for row in report.rows(phase) if row.against_baseline]
    return max(report.looks[0], 2) if any(each.verdict == "too few seeds" for each in compared) else None


def failed(row: VariantRow) -> list[str]:
    """How many of its runs ended badly, by how they did."""
    counts = {"diverged": row.diverged, "stuck": row.stuck}
    return [f"{count} of {row.n} {how}" for how, count in counts.items() if count]


def flat(report: Report) -> "pd.DataFrame":
    """One row per variant and phase with everything that is known of it; each row says what it was measured on."""
    about = ("experiment", "recipe", "budget", "data", "split", "train_images", "eval_images", "precision")
    context = {name: getattr(report, name) for name in about}
    return pd.DataFrame([context | _flattened(dataclasses.asdict(row)) for row in report.variants])


def _flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    single: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            single |= {f"{name}_{inner}": each for inner, each in _flattened(value).items()}
        elif name.endswith("interval") and value:
            single |= dict(zip((f"{name}_low", f"{name}_high"), value, strict=True))
        elif isinstance(value, tuple):
            single[name] = " ".join(map(str, value))
        elif value is not None:
            single[name] = value
    return single


def _comparison(report: Report, phase: str, members: list[VariantRow]) -> Table:
    """Each variant beside the baseline."""
    reached = [f"{level}" for level in LEVELS if any(row.reached[f"{level}"].share for row in members)]
    notes = []
    # What a narrow page shows without scrolling comes first.
    columns = {"variant": [row.variant for row in members], "verdict": [_verdict(row) for row in members]}
    compared = [_compared(row.against_baseline, row.n) if row.against_baseline else {} for row in members]
    columns |= {name: [each.get(name, NOTHING) for each in compared] for name in max(compared, key=len)}
    columns["accuracy: mean ± sd\n[95 % interval]"] = [_accuracy(row.accuracy) for row in members]
    columns["n"] = [str(row.n) for row in members]
    if any(row.compared for row in members):
        columns[f"against {published.ACCURACY_TARGET:.2f}"] = [
            row.accuracy.verdict if row.accuracy else NOTHING for row in members
        ]
        notes.append(
            f"The notebook's own curve is at {published.final()['test_accuracy']:.3f} over the last 20 of its "
            f"{len(published.curve())} epochs."
        )
    if any(row.against_baseline and row.against_baseline.n < members[0].n for row in members):
        notes.append(
            "A difference is over the seeds that both have. The means are over all runs, so they may differ by another."
        )
    if needed := seeds_needed(report, phase):
        notes.append(f"Too few seeds for a verdict: {needed} needed.")
    if any(row.diverged for row in members):
        notes.append(
            f"Diverged: the loss or a weight was not finite any more. Such a run is left out of the accuracy. In the "
            f"differences it counts with an accuracy of {CHANCE:g}, that of guessing."
        )
    if any(row.stuck for row in members):
        notes.append(f"Stuck: the run went to its end, with an accuracy below {STUCK:g}.")
    if report.no_effects:
        notes.append("No effects and interactions: they are means over cells, and a failed one would be most of each.")
    if reached:
        cells = [" / ".join(_first_epoch(row.reached[level]) for level in reached) for row in members]
        columns[f"epochs to\n{' / '.join(reached)}"] = cells
        some = "; *: not all of them did" if any("*" in cell for cell in cells) else ""
        notes.append(f"Epochs: the median over the runs that reached the accuracy{some}.")
    if phase == "retuned":
        columns["learning\nrate"] = [f"{row.learning_rate:.3g}" for row in members]
    return _table(phase, columns, notes)


def _verdict(row: VariantRow) -> str:
    """The verdict on a variant, or why there is none; below it the runs that failed."""
    said: str = row.against_baseline.verdict if row.against_baseline else NOTHING
    if not row.against_baseline and not row.rate_is_clear:
        said = "rate not clear"
    elif not row.against_baseline and row.judged_in:
        said = f"that of {row.judged_in}"
    return "\n".join([said, *failed(row)])


def _compared(compared: Compared, n: int) -> dict[str, str]:
    """n: how many seeds there are; where the comparison was decided with fewer, it says so."""
    return {
        "difference in points\n[interval]": points(compared.mean, compared.interval, "\n"),
        "seeds\ncompared": str(compared.n) if compared.n != n else NOTHING,
        "p\n(Holm)": p_value(compared.p_holm),
        "P(variant >\nbaseline)": _share(
            compared.probability_of_improvement, compared.probability_of_improvement_interval
        ),
    }


def _method(report: Report) -> list[str]:
    """How the numbers of the comparisons are made, and what their verdicts mean."""
    compared = [row.against_baseline for row in report.variants if row.against_baseline]
    said = []
    if any(each.p_holm is not None for each in compared):
        looks = " and ".join(filter(None, [", ".join(map(str, report.looks[:-1])), str(report.looks[-1])]))
        said = [
            f"The interval of a difference is at Holm's level for it, 95 % or more, and holds at every declared look: "
            f"it leaves out zero exactly where p is below 0.05. Looks are the numbers of seeds after which one judges, "
            f"declared before the first run; here {looks}. What is decided at one keeps the numbers of that look.",
            "p: the differences are paired by seed. Their standard error is pooled over the runs of the family where "
            "these spread alike, and the comparison's own where that is larger or a run failed; the bounds are those "
            "of the declared looks; Holm's correction is over the comparisons of one table. A "
            "paired t test of two rows of the CSV gives another p.",
            f"Better, worse: all of the interval is on that side of zero, also where it ends within {margin()} of it. "
            f"Equivalent: all of it is within {margin()}. Undecided: neither, so no difference is shown yet.",
        ]
    if any(each.probability_of_improvement is not None for each in compared):
        said.append(
            "P(variant > baseline): of the seeds that both have, the share of all pairs of a run of each, also of two "
            "seeds, in which the variant is better; ties half."
        )
    return said


def margin() -> str:
    """How large a difference is that counts as none."""
    return f"{MARGIN * 100:g} points"


def _settings(report: Report) -> list[Table]:
    """What each variant changes."""
    settings = {row.variant: row.settings for row in report.variants if row.settings}
    rows = [[variant, each] for variant, each in settings.items()]
    return [Table("settings that differ from the baseline's", ["variant", "settings"], rows, [])] if rows else []


def _effects_of(report: Report, phase: str) -> list[EffectRow]:
    return [effect for effect in report.effects if effect.phase == phase]


def _effects(phase: str, members: list[EffectRow]) -> Table:
    """Main effects and interactions of a factorial experiment."""
    header = ["effect of switching on", "n", "points\n[95 % interval]", "p\n(Holm)"]
    cells = [
        [each.effect, str(each.n), points(each.mean, each.interval, "\n"), p_value(each.p_holm)] for each in members
    ]
    note = "An interaction is half the difference between a factor's effect with the other on and with it off."
    return Table(f"effects and interactions, {phase}", header, cells, [note])


def _measured(members: list[VariantRow]) -> list[str]:
    """The measures from inside the network that at least one of the variants has."""
    return [
        name
        for name in dict.fromkeys(name for row in members for name in row.mechanism)
        if any(row.mechanism[name] is not None for row in members)
    ]


def _inside(measured: Inside | None) -> str:
    if measured is None:
        return NOTHING
    if measured.interval is None:
        return _number(measured.mean)
    low, high = measured.interval
    return f"{_number(measured.mean)}\n[{_number(low)}, {_number(high)}]"


def _mechanism(phase: str, members: list[VariantRow], measured_by: str) -> Table:
    """What was measured inside the network. measured_by: the code that measured it, if that is not today's."""
    names = _measured(members)
    cells = [[row.variant, *(_inside(row.mechanism[name]) for name in names)] for row in members]
    meanings = {name: metric.meaning for name, metric in INSIDE.items()} | EARLIER.get(measured_by, {})
    notes = []
    if measured_by and EARLIER.get(measured_by) != {}:
        notes.append(f"Measured by earlier code ({measured_by}), on other images than today, or by other formulas.")
    if not measured_by or measured_by in EARLIER:
        notes += [f"{name}: {meanings[name]}." for name in names if name in meanings]
    if geometric := [name for name in names if name in GEOMETRIC]:
        notes.append(f"The mean of {' and '.join(geometric)} is the geometric one.")
    notes.append(NO_CAUSE)
    if left_out := sum(row.measured_by_older_code for row in members):
        notes.append(f"Measured by older code and left out: {left_out} run{'s' * (left_out != 1)}.")
    return Table(
        f"inside the network, {phase}: mean over layers, epochs and seeds [95 % interval]",
        ["variant", *names],
        cells,
        notes,
    )


def _tuning(tuned: Sequence[TunedVariant]) -> Table:
    """The validation accuracy at each learning rate of the grid."""
    rates = sorted({point.learning_rate for each in tuned for point in each.grid})
    cells = []
    for each in tuned:
        found = {point.learning_rate: f"{point.accuracy:.4f}" for point in each.grid}
        best = f"{each.best:.3g}{'' if each.clear else ', not clear'}"
        gain = points(each.maxima.difference, each.maxima.interval, "\n") if each.maxima else NOTHING
        cells.append([each.variant, *(found.get(rate, NOTHING) for rate in rates), best, gain])
    header = ["variant", *(f"{rate:.3g}" for rate in rates), "best", "best mean against\nthe baseline's, points"]
    notes = [
        "Clear: inside the grid, and 2 standard errors above the next. Where it is not, only the best means are "
        "compared; their interval takes both choices as uncertain, and is no verdict."
    ]
    return Table("tuning: mean validation accuracy by learning rate, 2 to 4 seeds", header, cells, notes)


def _images_of(report: Report, phase: str) -> list[ImagesRow]:
    return [row for row in report.images if row.phase == phase]


def _images(report: Report, phase: str, members: list[ImagesRow]) -> Table:
    """What the single images say that the runs are judged by."""
    stuck = {row.variant: row.stuck for row in report.rows(phase)}
    cells = []
    for row in members:
        over = row.difference
        apart = [
            f"{report.class_names[number] if report.class_names else number}: {points(each.mean, each.interval)}"
            for number, each in enumerate(row.classes)
            if each.interval and not each.interval[0] <= 0 <= each.interval[1]
        ]
        difference = points(over.mean, over.interval, "\n") if over else NOTHING
        error = f"{row.calibration_error:.3f}" + "*" * bool(stuck.get(row.variant))
        cells.append([row.variant, error, difference, "\n".join(apart) or NOTHING])
    header = ["variant", "calibration\nerror", "difference in points\n[95 % over seeds and images]", "classes apart"]
    notes = ["Calibration error: mean distance of confidence and accuracy, 15 bins of equal width."]
    if any(row.difference for row in members):
        notes.append(
            "Intervals over seeds and images describe the seeds compared. They are not corrected for looks, variants "
            "or classes."
        )
    if any(row.classes for row in members):
        notes.append("Classes apart are those whose interval leaves out zero.")
    else:
        cells, header = [each[:-1] for each in cells], header[:-1]
    if any(stuck.values()):
        notes.append(
            "*: with a stuck run. It gives every class about the same probability: its small error says nothing."
        )
    return Table(f"{report.judged} images, {phase}", header, cells, notes)


def _selection_bias(report: Report) -> Table:
    """How much of what a search found is left on seeds that it never saw."""
    cells = [
        [each.variant, points(each.searched), points(each.confirmed, each.interval), points(each.selection_bias)]
        for each in report.selection_bias
    ]  # fmt: skip
    header = [
        "variant",
        "gain in the search\n(validation, one seed)",
        f"gain confirmed\n({report.judged}, fresh seeds)",
        "selection\nbias",
    ]
    return Table("how much of the search's gain was selection bias, in points", header, cells, [])


def _accuracy(measured: AgainstTarget | None, *, sd: bool = True) -> str:
    if not measured:
        return NOTHING
    spread = f" ± {accuracy(measured.sd)}" if sd and measured.sd is not None else ""
    if not measured.interval:
        return accuracy(measured.mean) + spread
    return accuracy(measured.mean, measured.interval, f"{spread}\n")


def p_value(value: float | None) -> str:
    """A p value as tables and figures have it."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.2f}" + (f"\n[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _first_epoch(reached: Reached) -> str:
    if reached.epoch is None:
        return NOTHING
    return f"{reached.epoch:g}" + ("" if reached.share == 1 else "*")


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"
