"""The figure of a size curve: the difference of each variant to the baseline, by the number of training images."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from harness.reporting.curves import distinct_colours
from harness.reporting.forest import DIRECTIONS
from harness.reporting.quoted import Difference


def size_curve(differences: Mapping[str, Sequence[tuple[int, Difference]]], about: str) -> Figure:
    """Draw the differences, by variant: (training images, difference) each. about: a line of what they were made on."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", lw=1)
    for (variant, points), colour in zip(differences.items(), distinct_colours(len(differences)), strict=True):
        points = sorted(points, key=lambda point: point[0])
        sizes = [images for images, _ in points]
        means = [100 * found.mean for _, found in points]
        around = [[100 * abs(end - found.mean) for _, found in points for end in [found.interval[i]]] for i in (0, 1)]
        axes.errorbar(sizes, means, yerr=around, marker="o", ms=5, capsize=3, lw=1.5, color=colour, label=variant)
    axes.set_xscale("log")
    every = sorted({images for points in differences.values() for images, _ in points})
    axes.set_xticks(every, [f"{images:,}" for images in every])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set(xlabel="training images", ylabel=f"points of accuracy against the baseline\n{DIRECTIONS}")
    axes.set_title(f"By the number of training images\n{about} · 95 % intervals over seeds", fontsize=10)
    axes.legend(fontsize=9)
    return figure
