"""Figures over several studies: differences to the baseline by question, and by the number of training images."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from harness.analysis.stats import Compared
from harness.reporting.curves import distinct_colours
from harness.reporting.forest import DIRECTIONS
from harness.reporting.quoted import Difference


@dataclass(frozen=True)
class AtSize:
    """A comparison with the baseline by the number of training images.

    epochs: of a comparison that is no part of the curve, as it has another number of them.
    """

    images: int
    compared: Compared
    epochs: int | None = None

    def __str__(self) -> str:
        apart = "" if self.epochs is None else f" ({self.epochs} epoch{'' if self.epochs == 1 else 's'})"
        return f"{self.images:,}{apart}"


def size_curve(comparisons: Mapping[str, Sequence[AtSize]], about: str) -> Figure:
    """Draw the comparisons, by variant. about: what they were made on.

    A line joins those of the curve. What is apart from it is hollow, and the axis says its epochs.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", lw=1)
    ticks: dict[int, str] = {}
    # Told apart without colours too.
    kinds = zip(distinct_colours(len(comparisons)), itertools.cycle("osD^"), itertools.cycle(("-", "--", "-.")))
    for i, ((variant, points), (colour, shape, dashes)) in enumerate(zip(comparisons.items(), kinds, strict=False)):
        points = sorted(points, key=lambda each: each.images)
        ticks |= {each.images: str(each).replace(" (", "\n(") for each in points}
        # Side by side, so that no interval hides another.
        aside = 1.03 ** (i - (len(comparisons) - 1) / 2)
        marker: dict[str, Any] = {"marker": shape, "ms": 5, "color": colour, "lw": 1.5}
        joined = [each for each in points if each.epochs is None]
        means = [100 * each.compared.mean for each in joined]
        axes.plot([aside * each.images for each in joined], means, label=variant, ls=dashes, **marker)
        for each in points:
            mean = each.compared.mean
            low, high = each.compared.interval or (mean, mean)
            axes.errorbar(aside * each.images, 100 * mean, ([100 * (mean - low)], [100 * (high - mean)]), capsize=3,
                          mfc=colour if each.epochs is None else "white", **marker)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set(xlabel="training images", ylabel=f"points of accuracy against the baseline\n{DIRECTIONS}")
    axes.set_title(f"By the number of training images\n{textwrap.fill(about, 95)}", fontsize=9)
    axes.legend(fontsize=9)
    return figure


#: What is further left is drawn as an arrow at the edge: one very large loss must not hide what the others are.
LOWEST = -9.0

NUMBERS = "#0a7ac4"


def answers(questions: Mapping[str, Sequence[tuple[str, Difference]]], about: str) -> Figure:
    """Draw a forest plot with a panel for each question. about: a line of what the differences were measured on."""
    counts = [len(rows) for rows in questions.values()]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(counts) + 0.22 * sum(counts)), layout="constrained")
    panels = figure.subplots(len(counts), 1, sharex=True, height_ratios=[count + 0.5 for count in counts])
    for axes, (question, rows) in zip(panels, questions.items(), strict=True):
        axes.set_title(question, fontsize=10, loc="left", fontweight="bold")
        axes.axvline(0, color="black", lw=0.8)
        for y, (_, found) in enumerate(rows):
            low, high = (100 * end for end in found.interval)
            if not found.stuck and high > LOWEST:
                axes.plot([low, high], [y, y], color=NUMBERS, lw=2, solid_capstyle="butt")
                axes.plot(100 * found.mean, y, color=NUMBERS, marker="o", ms=5)
            elif not found.stuck:
                axes.plot(LOWEST, y, color=NUMBERS, marker="<", ms=7, clip_on=False)
            said = f"{found}" if found.stuck else f"{found}, n = {found.n}"
            axes.text(1.02, y, said, fontsize=9, va="center", transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(LOWEST, 1.5)
        axes.grid(axis="x", alpha=0.25)
        axes.tick_params(axis="x", labelsize=8)
    what = "points of test accuracy against the baseline, 95 % intervals; a triangle: further left"
    panels[-1].set_xlabel(f"{what}\n{DIRECTIONS}", fontsize=9)
    figure.suptitle(textwrap.fill(about, 120), fontsize=9)
    return figure
