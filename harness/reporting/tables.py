"""The tables of a report: as text for readers, and flat for programs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import published
from harness.analysis import AgainstTarget
from harness.analysis.history import Inside, Reached
from harness.analysis.images import ImagesRow
from harness.analysis.report import (
    LEVELS,
    EffectRow,
    Report,
    SelectionBias,
    TunedVariant,
    VariantRow,
)
from harness.analysis.stats import CHANCE, STUCK
from harness.common.lazy import lazy_import
from harness.metrics import INSIDE

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

MEANING = {
    "same recipe": "every variant under the one recipe",
    "retuned": "every variant at the learning rate that suited it best",
}

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
    found += [_effects(phase, members) for phase in MEANING if (members := _effects_of(report, phase))]
    found += mechanism_tables(report)
    found += [_images(phase, images) for phase in MEANING if (images := _images_of(report, phase))]
    found += [_selection_bias(report.selection_bias)] if report.selection_bias else []
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
        verdicts = [each.verdict if each else NOTHING for each in compared]
        failed = [_failed(row).replace(", ", "\n") for row in members]
        columns["verdict"] = [
            word if bad == NOTHING else f"{word}\n{bad}" for word, bad in zip(verdicts, failed, strict=True)
        ]
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
    columns = {"variant": [row.variant for row in members], "n": [str(row.n) for row in members]}
    columns["accuracy: mean ± sd\n[95 % interval]"] = [_accuracy(row.accuracy) for row in members]
    if any(row.compared for row in members):
        columns[f"against {published.ACCURACY_TARGET:.2f}"] = [
            row.accuracy.verdict if row.accuracy else NOTHING for row in members
        ]
        notes.append(
            f"The notebook's own curve is at {published.final()['test_accuracy']:.3f} over its last 20 epochs."
        )
    if any(row.against_baseline for row in members):
        compared = [_compared(row) for row in members]
        columns |= {name: [each.get(name, NOTHING) for each in compared] for name in max(compared, key=len)}
    if any(row.against_baseline and row.against_baseline.p_holm is not None for row in members):
        notes.append(
            "The interval of a difference is at Holm's level for it, 95 % or more, and holds at every declared look: "
            "it leaves out zero exactly where p is below 0.05."
        )
    if needed := seeds_needed(report, phase):
        notes.append(f"Too few seeds for a verdict: {needed} needed.")
    if any(row.diverged or row.stuck for row in members):
        columns["failed"] = [_failed(row) for row in members]
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
        columns[f"epochs to\n{' / '.join(reached)}"] = [
            " / ".join(_first_epoch(row.reached[level]) for level in reached) for row in members
        ]
        notes.append("Epochs: the median over the runs that reached the accuracy; *: not all of them did.")
    if phase == "retuned":
        columns["learning\nrate"] = [f"{row.learning_rate:.3g}" for row in members]
    return _table(phase, columns, notes)


def _compared(row: VariantRow) -> dict[str, str]:
    compared = row.against_baseline
    if not compared:
        if not row.rate_is_clear:
            return {"verdict": "rate not clear"}
        return {"verdict": f"that of {row.judged_in}"} if row.judged_in else {}
    return {
        "difference in points\n[interval]": points(compared.mean, compared.interval, "\n"),
        "seeds\ncompared": str(compared.n),
        "p\n(Holm)": p_value(compared.p_holm),
        "P(variant >\nbaseline)": _share(
            compared.probability_of_improvement, compared.probability_of_improvement_interval
        ),
        "verdict": compared.verdict,
    }


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
    notes = [f"{name}: {INSIDE[name].meaning}." for name in names if name in INSIDE and not measured_by]
    if measured_by:
        notes.append(f"Measured by earlier code ({measured_by}), to which these names may have meant something else.")
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


def _images(phase: str, members: list[ImagesRow]) -> Table:
    """What the single test images say."""
    cells = []
    for row in members:
        over = row.difference
        told = [
            f"{number}: {points(each.mean, each.interval)}"
            for number, each in enumerate(row.classes)
            if each.interval and not each.interval[0] <= 0 <= each.interval[1]
        ]
        difference = points(over.mean, over.interval, "\n") if over else NOTHING
        cells.append([row.variant, f"{row.calibration_error:.3f}", difference, "\n".join(told) or NOTHING])
    header = ["variant", "calibration\nerror", "difference in points\n[95 % over seeds and images]", "classes apart"]
    notes = [
        "Calibration error: mean distance of confidence and accuracy, 15 bins of equal width.",
        "Intervals over seeds and images describe the seeds compared. They are not corrected for looks, variants or "
        "classes; classes apart are those whose own leaves out zero.",
    ]
    return Table(f"test images, {phase}", header, cells, notes)


def _selection_bias(winners: Sequence[SelectionBias]) -> Table:
    """How much of what a search found is left on seeds that it never saw."""
    cells = [
        [each.variant, points(each.searched, None), points(each.confirmed, each.interval),
         points(each.selection_bias, None)]
        for each in winners
    ]  # fmt: skip
    header = [
        "variant",
        "gain in the search\n(validation, one seed)",
        "gain confirmed\n(test, fresh seeds)",
        "selection\nbias",
    ]
    return Table("how much of the search's gain was selection bias, in points", header, cells, [])


def _accuracy(measured: AgainstTarget | None, *, sd: bool = True) -> str:
    if not measured:
        return NOTHING
    text = f"{measured.mean:.4f}"
    if sd and measured.sd is not None:
        text += f" ± {measured.sd:.4f}"
    if measured.interval:
        low, high = measured.interval
        text += f"\n[{low:.4f}, {high:.4f}]"
    return text


def points(mean: float, interval: tuple[float, float] | None, between: str = " ") -> str:
    """A difference of accuracies in points, with its interval."""
    text = f"{mean * 100:+.2f}"
    return text + f"{between}[{interval[0] * 100:+.2f}, {interval[1] * 100:+.2f}]" if interval else text


def p_value(value: float | None) -> str:
    """A p value as tables and figures have it."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.2f}" + (f"\n[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _failed(row: VariantRow) -> str:
    counts = {"diverged": row.diverged, "stuck": row.stuck}
    return ", ".join(f"{count} {how}" for how, count in counts.items() if count) or NOTHING


def _first_epoch(reached: Reached) -> str:
    if reached.epoch is None:
        return NOTHING
    return f"{reached.epoch:g}" + ("" if reached.share == 1 else "*")


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"
