"""The figures of a search: Optuna's own, each as a page to explore and as a picture."""

import warnings
from pathlib import Path
from typing import Any

import optuna

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
    """Draw what the trials allow into a folder; returns the names of the pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

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
