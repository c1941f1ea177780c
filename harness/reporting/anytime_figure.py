"""The best so far by cost, a line for each search, a colour for each way of searching; and the table beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from harness.reporting.console import out

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def anytime_figure(document: dict[str, Any], curves: Mapping[str, Sequence["pd.Series[float]"]]) -> Figure:
    """curves: of each method, the best accuracy of each of its searches by the PFLOP spent."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for colour, (method, repetitions) in zip(COLOURS, curves.items(), strict=False):
        for number, curve in enumerate(repetitions):
            label = f"{method}, n = {len(repetitions)}" if number == 0 else None
            axes.step(curve.index, curve, where="post", color=colour, lw=1.5, alpha=0.8, label=label)
    axes.axvline(document["pflop"], color="#888888", lw=1, ls=":")
    axes.set(
        xlabel="PFLOP spent (dotted: where they are compared)",
        ylabel="best validation accuracy so far",
        title=f"{document['data']}, {document['budget']} budget: the baseline is every search's first trial",
    )
    axes.legend(loc="upper left", fontsize=9)
    axes.grid(alpha=0.25)
    return figure


def print_anytime(document: dict[str, Any]) -> None:
    """The document of `harness.search.anytime` as tables."""
    out.print(
        f"Best validation accuracy after {document['pflop']:.4f} PFLOP, {document['data']}, {document['budget']} "
        f"budget; the baseline has {document['baseline_accuracy']:.4f}"
    )
    table = Table("way of searching", "n", "mean", "each")
    for row in document["methods"]:
        table.add_row(
            row["method"], str(len(row["best"])), f"{row['mean']:.4f}", " ".join(f"{b:.4f}" for b in row["best"])
        )
    out.print(table)
    for row in document["differences"]:
        low, high = (100 * bound for bound in row["interval"])
        out.print(
            f"  {row['of']} against {row['against']}: {100 * row['mean']:+.2f} points [{low:+.2f}, {high:+.2f}] "
            f"(Welch, p = {row['p']:.3f})"
        )
    out.print(f"  {document['folder']}", highlight=False, markup=False, soft_wrap=True)
