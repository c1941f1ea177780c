"""What the page says of one report: its parts in the order of reading, as the template writes them down."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness import experiment, published
from harness.analysis.make_report import grouped
from harness.analysis.report import Report
from harness.analysis.stats import CHANCE, STUCK
from harness.data import Dataset
from harness.experiment import BASELINE
from harness.reporting import forest, interactions, sentences, summary
from harness.reporting.curves import OWN, RETUNED, band, gradients
from harness.reporting.page import charts
from harness.reporting.page.charts import Chart, Forest, Series
from harness.reporting.page.mistakes import Mistake, mistakes
from harness.reporting.tables import MEANING, NO_CAUSE, Table, flat, mechanism_tables, tables
from harness.runs.records import version_texts
from harness.runs.spec import RunResult

#: Of small charts side by side.
SMALL = (300, 210)


@dataclass(frozen=True)
class Pictures:
    """The wrong predictions of one run; none where every run of the variant is stuck."""

    heading: str
    mistakes: list[Mistake]


@dataclass(frozen=True)
class Section:
    """One report. `claims` and `prediction` are paragraphs of the experiment's docstring; `csv` is a data URI."""

    report: Report
    anchor: str
    baseline: str
    claims: list[str]
    prediction: str
    answer: str
    caveats: str
    outcomes: list[tuple[str, str]]
    next_step: tuple[str, str]
    forests: list[Forest]
    effects: list[Forest]
    interactions: list[Chart]
    change_of_mind: list[str]
    reservations: list[str]
    tuning: Chart | None
    probes: list[Table]
    gradients: Chart | None
    pictures: list[Pictures]
    accuracy: list[Chart]
    tables: list[Table]
    context: str
    cost: str
    machines: list[str]
    command: str
    csv: str
    csv_name: str


def section(report: Report, results: Sequence[RunResult], dataset: Dataset | None = None) -> Section:
    """The section of a report. dataset: its images, for the pictures; None leaves them out."""
    claims, prediction = _paragraphs(report.experiment)
    inside = mechanism_tables(report)
    return Section(
        report=report,
        anchor=re.sub(r"[^\w-]+", "-", f"{report.experiment}-{report.budget}"),
        baseline=sentences.baseline(report),
        claims=claims,
        prediction=prediction,
        answer=summary.answer(report),
        caveats=" ".join([*summary.caveats(report), *([NO_CAUSE] if inside else [])]),
        outcomes=[(summary.SCORES[score], because) for score, because in sentences.scored(report)],
        next_step=summary.next_step(report),
        forests=_forests(
            report,
            forest.comparison_lines(report),
            f"{report.judged.capitalize()} accuracy minus the baseline's, in points. Bars: {forest.bars(report)}.",
        ),
        effects=_forests(
            report,
            forest.effect_lines(report),
            f"Effect of switching on, in points of {report.judged} accuracy. Bars: 95 % intervals, each by itself.",
        ),
        interactions=_interactions(report, results),
        change_of_mind=summary.change_of_mind(report) + _optimizer(results),
        reservations=sentences.reservations(report),
        tuning=_tuning(report),
        probes=inside,
        gradients=_gradients(results),
        pictures=_pictures(report, results, dataset) if dataset else [],
        accuracy=_accuracy(report, results),
        tables=[table for table in tables(report) if table not in inside],
        context=sentences.context(report),
        cost=sentences.cost(report),
        machines=_machines(results),
        command=sentences.command(report),
        csv="data:text/csv;base64," + base64.b64encode(flat(report).to_csv(index=False).encode()).decode(),
        csv_name=re.sub(r"[^\w.-]+", "-", f"{report.experiment}-{report.budget}-{report.data}") + ".csv",
    )


def _paragraphs(name: str) -> tuple[list[str], str]:
    """The paragraphs of an experiment's docstring between question and prediction, and the prediction."""
    paragraphs = [" ".join(part.split()) for part in experiment.docstring(name).split("\n\n") if not part[:1].isspace()]
    predicted = [number for number, part in enumerate(paragraphs) if part.startswith("Prediction")]
    if not predicted:
        return paragraphs[1:], ""
    return paragraphs[1 : predicted[0]], paragraphs[predicted[0]]


def _optimizer(results: Sequence[RunResult]) -> list[str]:
    if any(each.spec.config.recipe.optimizer != "muon" for each in results):
        return []
    return ["Plain SGD: the steps of Muon, the optimizer here, hardly depend on how small a gradient is."]


def _forests(report: Report, panels: dict[str, list[forest.Line]], key: str) -> list[Forest]:
    drawn = []
    for phase, differences in panels.items():
        baseline = forest.baseline_accuracy(report, phase)
        title = ", ".join(filter(None, [f"{phase}: {MEANING[phase]}", baseline]))
        drawn.append(charts.forest(differences, title, key))
    return drawn


def _interactions(report: Report, results: Sequence[RunResult]) -> list[Chart]:
    """The means of each two factors, on one scale."""
    by_phase = interactions.panels(report, results)
    shown = [(phase, panel) for phase, found in by_phase.items() for panel in found]
    every = [100 * value for _, panel in shown for value in (*panel.off, *panel.on)]
    return [
        charts.lines(
            [
                Series(
                    f"{panel.by} off",
                    list(enumerate(100 * v for v in panel.off)),
                    colour=interactions.OFF[0],
                    dashed=True,
                ),
                Series(f"{panel.by} on", list(enumerate(100 * v for v in panel.on)), colour=interactions.ON[0]),
            ],
            x_label="",
            y_label="accuracy, %",
            title=panel.title if len(by_phase) == 1 else f"{phase}, {panel.title}",
            x_names=[f"{panel.along} off", f"{panel.along} on"],
            x_range=(-0.35, 1.35),
            y_range=(min(every), max(every)),
            size=SMALL,
        )
        for phase, panel in shown
    ]


def _tuning(report: Report) -> Chart | None:
    """Validation accuracy by learning rate, a line for each variant."""
    series = [
        Series(each.variant, [(point.learning_rate, 100 * point.accuracy) for point in each.grid], marked=each.best)
        for each in report.tuning
    ]
    if not series:
        return None
    return charts.lines(series, x_label="learning rate", y_label="validation accuracy, %", log_x=True)


def _gradients(results: Sequence[RunResult]) -> Chart | None:
    """The norm of the loss gradient by layer after the last epoch, a line for each variant."""
    found = {
        variant: grid.iloc[:, -1].dropna()
        for (phase, variant), members in grouped(results).items()
        if phase == "same recipe" and (grid := gradients(members)) is not None
    }
    layers = list(dict.fromkeys(layer for norms in found.values() for layer in norms.index))
    series = [
        Series(variant, [(layers.index(layer), 10.0**norm) for layer, norm in norms.items()])
        for variant, norms in found.items()
        if len(norms)
    ]
    if not series:
        return None
    names = [layer.replace("block", "").replace("_conv", ".").replace("output", "out") for layer in layers]
    return charts.lines(series, x_label="layer, from the input on", y_label="gradient norm", log_y=True, x_names=names)


def _pictures(report: Report, results: Sequence[RunResult], dataset: Dataset) -> list[Pictures]:
    """Of the baseline, and of the variant that differs most from it: of the first run each that is not stuck."""
    furthest = max(summary.primary(report), key=lambda pair: abs(pair[1].mean), default=None)
    shown = []
    for variant in [BASELINE, *([furthest[0].variant] if furthest else [])]:
        runs = [each for each in results if each.spec.variant == variant and each.spec.is_compared]
        learned = [each for each in runs if each.result.metrics.get("accuracy", CHANCE) >= STUCK]
        if runs and not learned:
            shown.append(Pictures(f"{variant}: every run is stuck, and sure of nothing", []))
        for each in learned:
            if found := mistakes(each, dataset):
                heading = f"{variant}, seed {each.spec.config.seed}"
                if each is not runs[0]:
                    heading += ", the first that is not stuck and kept its answers"
                shown.append(Pictures(heading, found))
                break
    # A word on a variant without pictures stands beside those of the other.
    return shown if any(each.mistakes for each in shown) else []


def _accuracy(report: Report, results: Sequence[RunResult]) -> list[Chart]:
    """A small chart of accuracy by epoch for every variant, all on the same axes; the published curve where fair."""
    quantity = f"{report.judged}_accuracy"
    bands = {group: found for group, members in grouped(results).items() if len(found := band(members, quantity)) > 1}
    bands = {group: found for group, found in bands.items() if group[0] != "tuning"}
    if not bands:
        return []
    last = int(max(found.index.max() for found in bands.values()))
    curve = published.curve()[:last] if any(row.compared for row in report.variants) else None
    ends = [100 * end for found in bands.values() for end in (found["min"].min(), found["max"].max())]
    ends += [] if curve is None else [100 * curve["test_accuracy"].min(), 100 * curve["test_accuracy"].max()]
    drawn = []
    for variant in dict.fromkeys(variant for _, variant in bands):
        series = [
            _series(label, bands[group], colour, dashed=style != "-")
            for phase, (colour, style, label) in (("same recipe", OWN), ("retuned", RETUNED))
            for group in bands
            if group == (phase, variant)
        ]
        if curve is not None:
            there = list(zip(curve["epoch"], 100 * curve["test_accuracy"], strict=True))
            series.append(Series("the notebook's", there, colour="#999999"))
        ranges: dict[str, Any] = {"x_range": (1.0, last), "y_range": (min(ends), max(ends))}
        drawn.append(charts.lines(series, title=variant, x_label="epoch", y_label="", size=SMALL, **ranges))
    return drawn


def _series(label: str, found: pd.DataFrame, colour: str, *, dashed: bool) -> Series:
    """found: mean, min and max by epoch."""
    mean, low, high = ((100 * found[name]).tolist() for name in ("mean", "min", "max"))
    epochs = found.index.astype(int).tolist()
    points, ends = list(zip(epochs, mean, strict=True)), list(zip(epochs, low, high, strict=True))
    return Series(label, points, ends, colour, dashed)


def _machines(results: Sequence[RunResult]) -> list[str]:
    """Where the runs were trained: hardware, versions and commit of each place, with the number of runs."""
    counts: dict[str, int] = {}
    # A variant that the recipe's own rate suits best is retuned by the runs that it has.
    for folder in {each.spec.config.key: each.folder for each in results}.values():
        tags = folder.tags
        commit = f"commit {tags['git_commit'][:12]}" if tags.get("git_commit") else ""
        changed = "with uncommitted changes" if tags.get("git_dirty") == "true" else ""
        hardware = dict.fromkeys(filter(None, (tags.get("device"), tags.get("cpu"))))
        place = "; ".join(filter(None, [*hardware, f"{commit} {changed}".strip(), ", ".join(version_texts(tags))]))
        if place:
            counts[place] = counts.get(place, 0) + 1
    return [f"{count} run{'s' * (count != 1)}: {place}" for place, count in counts.items()]
