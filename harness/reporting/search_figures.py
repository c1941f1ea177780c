"""The figures of a search: Optuna's own, each as a page to explore and as a picture; and of several, compared."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from matplotlib.figure import Figure

from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    import matplotlib
    from matplotlib import pyplot
else:
    matplotlib = lazy_import("matplotlib")
    pyplot = lazy_import("matplotlib.pyplot")


#: File name -> the function of that name in optuna.visualization and in optuna.visualization.matplotlib.
FIGURES = {
    "history": "plot_optimization_history",
    "importances": "plot_param_importances",
    "slice": "plot_slice",
    "contour": "plot_contour",
    "timeline": "plot_timeline",
}

#: A way of searching each.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")

#: A contour for every pair of parameters; of more than these the panels are too small to read.
CONTOUR_PARAMETERS = 3

CAPTIONS = {
    "history": "Validation accuracy of every trial, and the best so far",
    "importances": "How much of the differences each parameter explains (PED-ANOVA)",
    "slice": "Validation accuracy by each parameter",
    "contour": "Validation accuracy by pairs of the parameters that matter most",
    "timeline": "When each trial ran, and how it ended",
}


def draw_search(study: optuna.Study, importances: dict[str, float], folder: Path) -> list[str]:
    """Draw what the trials allow into a folder; returns the names of the pictures."""

    matplotlib.use("Agg")

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, function in FIGURES.items():
        options: dict[str, Any] = {} if name == "timeline" else {"target_name": "validation accuracy"}
        if name == "contour":
            options["params"] = list(importances)[:CONTOUR_PARAMETERS]
            if len(options["params"]) < 2:
                continue
        elif name == "importances" and not importances:
            continue
        with warnings.catch_warnings():
            # Experimental functions, and parameters that only some trials have.
            warnings.simplefilter("ignore")
            page = getattr(optuna.visualization, function)(study, **options)
            page.write_html(folder / f"{name}.html", include_plotlyjs="cdn")
            axes = getattr(optuna.visualization.matplotlib, function)(study, **options)
        first = axes if hasattr(axes, "figure") else axes.flat[0]
        columns = 1 if hasattr(axes, "figure") else axes.shape[-1]
        first.figure.set_size_inches(max(8, 3 * columns), 5 if name != "contour" else 8)
        first.figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        pyplot.close("all")
        drawn.append(f"{name}.png")
    return drawn


def anytime_figure(document: dict[str, Any], table: pd.DataFrame) -> Figure:
    """The best so far by the PFLOP spent: a line for each search, a colour for each way of searching.

    document, table: as harness.search.anytime makes them.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(document["methods"]):
        colour = COLOURS[number % len(COLOURS)]
        for repetition, study in enumerate(method["studies"]):
            curve = table[table["study"] == study]
            label = f"{method['method']}, n = {len(method['studies'])}" if repetition == 0 else None
            axes.step(curve["pflop"], curve["best"], where="post", color=colour, lw=1.5, alpha=0.8, label=label)
    axes.axvline(document["pflop"], color="#888888", lw=1, ls=":")
    axes.set(
        xlabel="PFLOP spent (dotted: where they are compared)",
        ylabel="best validation accuracy so far",
        title=f"{document['data']}, {document['budget']} budget: the baseline is every search's first trial",
    )
    axes.legend(loc="upper left", fontsize=9)
    axes.grid(alpha=0.25)
    return figure
