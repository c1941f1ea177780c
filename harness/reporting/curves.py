"""The curves of a report: accuracy and gradients by epoch, a panel for each variant; and accuracy by learning rate."""

import colorsys
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness import published
from harness.analysis.make_report import grouped
from harness.analysis.report import Report
from harness.experiment import BASELINE
from harness.reporting.run_figures import PUBLISHED, TARGET
from harness.reporting.sentences import about, setting
from harness.runs.spec import RunResult

#: How the lines of a panel are told from each other: colour, line, and what they are.
OWN = ("#0072B2", "-", "same recipe")
RETUNED = ("#D55E00", "--", "retuned")
BESIDE = ("#222222", ":", "baseline, same recipe")

#: Readable on white and on black; as far as they go, told apart by all kinds of colour vision.
COLOURS = ("#0a7ac4", "#d9600a", "#12966b", "#c65aa0", "#a8760c", "#6a6fd8", "#c23b3b", "#3b9aa8")

TUNING_SHAPES = ("o", "s", "^", "v", "D")


def accuracy(report: Report, results: Sequence[RunResult]) -> Figure | None:
    """Mean and range over the seeds by epoch; the baseline, and where that is fair the published curve, behind each."""
    name = f"{report.judged}_accuracy"
    bands = {group: found for group, members in grouped(results).items() if len(found := band(members, name)) > 1}
    variants = list(dict.fromkeys(variant for phase, variant in bands if phase != "tuning"))
    if not variants:
        return None
    figure, panels = _panels(
        report, variants, f"{report.judged} accuracy, mean over the seeds; band: lowest to highest"
    )
    for variant, axes in panels.items():
        if any(row.compared for row in report.variants):
            # Where an epoch is not the notebook's 50,000 images, its curve would mislead.
            curve = published.curve()[: int(max(found.index.max() for found in bands.values()))]
            axes.plot(curve["epoch"], curve["test_accuracy"], color=PUBLISHED, lw=2, label="published")
            axes.axhline(published.ACCURACY_TARGET, color=TARGET, lw=1, label=f"target {published.ACCURACY_TARGET:.2f}")
        lines = [(("same recipe", variant), OWN), (("retuned", variant), RETUNED)]
        if variant != BASELINE:
            lines.insert(0, (("same recipe", BASELINE), BESIDE))
        for group, (colour, style, label) in lines:
            if group in bands:
                found = bands[group]
                axes.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.2, lw=0)
                axes.plot(found.index, found["mean"], color=colour, ls=style, lw=1.5, label=label)
        axes.grid(alpha=0.25)
    entries = {
        label: handle
        for axes in panels.values()
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries), fontsize=8)
    return figure


def gradient_flow(report: Report, results: Sequence[RunResult]) -> Figure | None:
    """The norm of every layer's gradient by epoch under the one recipe, the mean of its logarithm over the seeds."""
    grids = {
        variant: grid
        for (phase, variant), members in grouped(results).items()
        if phase == "same recipe" and (grid := gradients(members)) is not None
    }
    if not grids:
        return None
    title = "norm of each layer's loss gradient, same recipe, mean over the seeds"
    if without := [row.variant for row in report.rows("same recipe") if row.variant not in grids]:
        title += f"; none was measured of {', '.join(without)}"
    figure, panels = _panels(report, list(grids), title)
    low = min(np.nanmin(grid) for grid in grids.values())
    high = max(np.nanmax(grid) for grid in grids.values())
    for variant, axes in panels.items():
        grid = grids[variant]
        epochs = (int(grid.columns.min()) - 0.5, int(grid.columns.max()) + 0.5)
        image = axes.imshow(
            grid, aspect="auto", interpolation="nearest", vmin=low, vmax=high, cmap="viridis",
            extent=(*epochs, len(grid) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_facecolor("#bbbbbb")  # shows where there is no finite number
        axes.set_yticks(range(len(grid)), list(grid.index), fontsize=7)
    bar = figure.colorbar(image, ax=list(panels.values()), label="grey: zero or not finite")
    bar.locator = MaxNLocator(integer=True, nbins=8)
    bar.formatter = FuncFormatter(lambda power, _: f"{10.0**power:g}")
    bar.update_ticks()
    return figure


def tuning(report: Report) -> Figure | None:
    """Validation accuracy against the learning rate, a line for each variant, its best rate ringed."""
    if not report.tuning:
        return None
    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    axes = figure.subplots()
    others = distinct_colours(sum(each.variant != BASELINE for each in report.tuning))
    for number, each in enumerate(report.tuning):
        grid = {point.learning_rate: point.accuracy for point in each.grid}
        colour, shape, width = "black", "o", 2.5
        if each.variant != BASELINE:
            colour, shape, width = next(others), TUNING_SHAPES[number % len(TUNING_SHAPES)], 1.2
        label = each.variant + (", best at the edge" if each.at_the_edge else "" if each.clear else ", not clear")
        axes.plot(list(grid), list(grid.values()), color=colour, marker=shape, ms=5, lw=width, label=label)
        axes.plot(each.best, grid[each.best], "o", ms=13, mfc="none", mec=colour)
        low, high = ([pick(point.each) for point in each.grid] for pick in (min, max))
        axes.fill_between(list(grid), low, high, color=colour, alpha=0.12, lw=0)
    for row in report.rows("same recipe")[:1]:
        axes.axvline(row.learning_rate, color="#888888", ls="--", lw=1, label="the recipe's rate")
    axes.set_xscale("log")
    rates = sorted({point.learning_rate for each in report.tuning for point in each.grid})
    axes.set_xticks(rates, [f"{rate:.2g}" for rate in rates])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set(xlabel="learning rate", ylabel="validation accuracy")
    axes.set_title(
        f"{report.experiment}: tuning, best rate ringed; bands from the lowest to the highest seed\n{about(report)}",
        fontsize=10,
    )
    figure.legend(loc="outside right center", fontsize=8)
    return figure


def _panels(report: Report, variants: list[str], title: str) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a titled panel for each variant."""
    columns = min(len(variants), 4)
    lines = math.ceil(len(variants) / columns)
    figure = Figure(figsize=(1.8 + 2.5 * columns, 1.6 + 2.1 * lines), layout="constrained")
    figure.suptitle(f"{report.experiment}: {title}\n{setting(report)}", fontsize=10)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(variants) :]:
        axes.remove()
    panels = dict(zip(variants, grid, strict=False))
    for number, (variant, axes) in enumerate(panels.items()):
        axes.set_title(f"{variant}{_seeds(report, variant)}", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if number + columns >= len(panels):  # nothing below
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("epoch", fontsize=9)
    return figure, panels


def _seeds(report: Report, variant: str) -> str:
    row = next(row for row in report.variants if row.variant == variant)
    return f", n = {row.n}" + (f", {row.diverged} diverged" if row.diverged else "")


def distinct_colours(count: int) -> Iterator[str]:
    """So many colours, none of them twice: those that all kinds of colour vision tell apart as long as they last."""
    if count <= len(COLOURS):
        return iter(COLOURS[:count])
    hues = [colorsys.hls_to_rgb(number / count, 0.48, 0.65) for number in range(count)]
    return iter(["#" + "".join(f"{round(255 * part):02x}" for part in hue) for hue in hues])


def band(results: Sequence[RunResult], name: str) -> pd.DataFrame:
    """By epoch: mean, min and max over the runs that have a finite value there."""
    found = [(row["epoch"], row[name]) for each in results for row in each.history if _is_finite(row, name)]
    return pd.DataFrame(found, columns=["epoch", name]).groupby("epoch")[name].agg(["mean", "min", "max"])


def _is_finite(row: dict[str, float], name: str) -> bool:
    return name in row and math.isfinite(row[name])


def gradients(results: Sequence[RunResult]) -> pd.DataFrame | None:
    """log10 of the norms, layer by epoch, the mean over the seeds where it is finite; None where none is."""
    found = [
        (name.partition("/")[2], int(row["epoch"]), math.log10(value) if 0 < value < math.inf else math.nan)
        for each in results
        for row in each.history
        for name, value in row.items()
        if name.startswith("gradient_norm/")
    ]
    frame = pd.DataFrame(found, columns=["layer", "epoch", "norm"])
    if not frame["norm"].notna().any():
        return None
    return frame.groupby(["layer", "epoch"], sort=False)["norm"].mean().unstack(sort=False).sort_index(axis=1)
