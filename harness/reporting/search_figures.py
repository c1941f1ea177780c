"""The figures of a search: Optuna's own, each as a page to explore and as a picture; and of several, compared."""

import html
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.common.files import check_folder, write_atomically
from harness.common.lazy import lazy_import
from harness.reporting.curves import distinct_colours
from harness.search.study import METRIC

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
    """Draw what the trials allow into a folder: pictures, and explore.html with all of them to move about in.

    Return the names of the pictures.
    """

    matplotlib.use("Agg")

    check_folder(folder, f"{folder} cannot be made")
    folder.mkdir(parents=True, exist_ok=True)
    drawn, interactive = [], []
    for name, function in FIGURES.items():
        options: dict[str, Any] = {} if name == "timeline" else {"target_name": METRIC}
        if name == "contour":
            options["params"] = list(importances)[:CONTOUR_PARAMETERS]
            if len(options["params"]) < 2:
                continue
        elif name == "importances" and not importances:
            continue
        with warnings.catch_warnings():
            # Experimental functions, and parameters that only some trials have.
            warnings.simplefilter("ignore")
            interactive.append(getattr(optuna.visualization, function)(study, **options))
            axes = getattr(optuna.visualization.matplotlib, function)(study, **options)
        panels = np.array(axes, ndmin=2)
        _tidy(panels, few_labels=name in ("slice", "contour"))
        figure = panels[0, 0].figure
        figure.set_size_inches(max(8, 3 * panels.shape[1]), 5 if name != "contour" else 8)
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        pyplot.close("all")
        drawn.append(f"{name}.png")
    for name in FIGURES:
        if f"{name}.png" not in drawn:
            # One of an earlier search by that name would be taken for this one's.
            (folder / f"{name}.png").unlink(missing_ok=True)
    write_atomically(folder / "explore.html", _page(study.study_name, interactive).encode())
    return drawn


def _tidy(panels: np.ndarray, *, few_labels: bool) -> None:
    """Name what is measured in words, and let no label of a panel reach into the next one's. panels: axes [m, n]."""
    figure = panels[0, 0].figure
    for axes in figure.axes:
        if axes.get_ylabel() == "Objective Value":
            axes.set_ylabel(METRIC)
    if not few_labels:
        return
    for axes in panels.flat:
        axes.label_outer()
        for axis in (axes.xaxis, axes.yaxis):
            # An underscore is where a long name may be broken.
            axis.set_label_text(axis.get_label_text().replace("_", "\n").replace(" (", "\n("), fontsize=9)
            if axis.get_scale() == "log":
                low, high = axis.get_view_interval()
                axis.set_major_locator(LogLocator(numticks=4) if high > 10 * low else MaxNLocator(nbins=3))
                axis.set_minor_locator(NullLocator())
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_tick_params(labelsize=8)
        axes.tick_params(axis="x", labelrotation=45)


def _page(title: str, figures: Sequence[Any]) -> str:
    """Optuna's interactive figures as one page. Its script, of megabytes, is in it once: the page works offline."""
    parts = [figure.to_html(full_html=False, include_plotlyjs=number == 0) for number, figure in enumerate(figures)]
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return "\n".join([head, f"<h1>{html.escape(title)}</h1>", *parts])


def anytime_figure(document: dict[str, Any], table: pd.DataFrame) -> Figure:
    """The best so far by the PFLOP spent: a line for each search, a colour for each way of searching.

    document, table: as harness.search.anytime makes them.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, colour in zip(document["methods"], distinct_colours(len(document["methods"])), strict=True):
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
