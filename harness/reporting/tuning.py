"""How each variant of an answer got its own learning rate."""

from typing import Any

from matplotlib.figure import Figure

from harness.experiment import BASELINE
from harness.reporting.sentences import about
from harness.reporting.tables import rows

#: Okabe & Ito's colours but the pale ones; with the shapes, told apart by all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("o", "s", "^", "v", "D")


def tuning(document: dict[str, Any]) -> Figure | None:
    """Validation accuracy against the learning rate, a line for each variant, its best rate ringed."""
    if not document["tuning"]:
        return None
    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    axes = figure.subplots()
    others = 0
    for each in document["tuning"]:
        grid = {point["learning_rate"]: point["accuracy"] for point in each["grid"]}
        if each["variant"] == BASELINE:
            colour, shape, width = "black", "o", 2.5
        else:
            # Five shapes and six colours: thirty variants without a double.
            colour, shape, width = COLOURS[others % len(COLOURS)], SHAPES[others % len(SHAPES)], 1.2
            others += 1
        label = each["variant"] + (", best at the edge" if each["at_the_edge"] else "")
        axes.plot(list(grid), list(grid.values()), color=colour, marker=shape, ms=5, lw=width, label=label)
        axes.plot(each["best"], grid[each["best"]], "o", ms=13, mfc="none", mec=colour)
    for row in rows(document, "same recipe")[:1]:
        axes.axvline(row["learning_rate"], color="#888888", ls="--", lw=1, label="the recipe's rate")
    axes.set_xscale("log")
    rates = sorted({point["learning_rate"] for each in document["tuning"] for point in each["grid"]})
    axes.set_xticks(rates, [f"{rate:.2g}" for rate in rates])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set(xlabel="learning rate", ylabel="validation accuracy")
    axes.set_title(f"{document['experiment']}: tuning, best rate ringed\n{about(document)} · one seed", fontsize=10)
    figure.legend(loc="outside right center", fontsize=8)
    return figure
