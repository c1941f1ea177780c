"""The figures of one run, of the network that it trains, and of the data."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness import published
from harness.data.dataset import Dataset
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result

TRAIN, EVALUATION, PUBLISHED, TARGET = "#9ecae1", "#08519c", "#bdbdbd", "#d94801"

#: Of the picture of a data set: images per class, and white pixels between two of them.
SAMPLES, GAP = 10, 2


def draw_run(folder: RunFolder, name: str, result: Result, history: History) -> None:
    """Write the run's figures into its artifacts folder."""
    if not history:
        return
    about = f"{name} · {folder.config.data} · {folder.config.train_images:,} training images"
    # A name holds all that --set changed, and may be longer than the figure is wide.
    title = "\n".join(textwrap.fill(line, 84) for line in (about, folder.config.recipe.dropout_note) if line)
    fair = published.comparable_run(folder.config)
    for quantity in ("accuracy", "loss"):
        curves(history, quantity, title, fair=fair).savefig(folder.artifacts / f"{quantity}.png", dpi=120)
    if result.status == "finished":
        confusion(result, title).savefig(folder.artifacts / "confusion.png", dpi=120)


def curves(history: History, quantity: str, title: str, *, fair: bool) -> Figure:
    """Train and evaluation `accuracy` or `loss` by epoch; where that is fair, over the published curve and target."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    evaluated = next(name for name in ("test", "validation") if f"{name}_{quantity}" in history[0])
    if fair:
        _published(axes, quantity, len(history))
    marker = "o" if len(history) < 40 else None
    # In grey the colours of the two published lines are much like that of the training.
    for name, colour, dashes, label in (
        ("train", TRAIN, "-.", "train, as trained"),
        (evaluated, EVALUATION, "-", evaluated),
    ):
        values = [row[f"{name}_{quantity}"] for row in history]
        axes.plot(epochs, values, color=colour, ls=dashes, marker=marker, ms=3, label=label)
    axes.set(title=title, xlabel="epoch", ylabel="accuracy" if quantity == "accuracy" else "cross-entropy (nats)")
    axes.title.set_fontsize(10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if quantity == "accuracy":
        axes.set_ylim(0, 1)
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right" if quantity == "accuracy" else "upper right")
    return figure


def _published(axes: Axes, quantity: str, epochs: int) -> None:
    whole = published.curve()
    curve = whole[: max(epochs, 30)]
    # The published run may be longer: its first epochs are shown, and its end is told.
    end = published.final()[f"test_{quantity}"]
    cut = f" (first {len(curve)} of {len(whole)} epochs, {end:.3f} in the end)" if len(curve) < len(whole) else ""
    axes.plot(curve["epoch"], curve[f"test_{quantity}"], color=PUBLISHED, lw=2, label=f"published, test{cut}")
    axes.plot(curve["epoch"], curve[f"train_{quantity}"], color=PUBLISHED, lw=1, ls=":", label="published, train")
    target = published.ACCURACY_TARGET if quantity == "accuracy" else published.CROSS_ENTROPY_TARGET
    axes.axhline(target, color=TARGET, lw=1, ls="--", label=f"target {target:.2f}")


def confusion(result: Result, title: str) -> Figure:
    """Per cent of each class's evaluation images, true class by row, predicted by column: every row sums to 100."""
    figure = Figure(figsize=(6.5, 5.6), layout="constrained")
    axes = figure.subplots()
    names = list(result.error_per_class)
    counts = np.asarray(result.confusion)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (i, j), share in np.ndenumerate(percent):
        # A single image is told from none at all.
        text = "" if not share else "<1" if share < 1 else f"{share:.0f}"
        colour = "white" if share > 50 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true (each row: 100 %)")
    axes.set_title(f"{title}\n{int(counts.sum()):,} images, per cent of each class", fontsize=9)
    return figure


def network_figure(layers: list[dict[str, Any]]) -> Figure:
    """The network drawn as a column of boxes, top to bottom; a box is as wide as its layer has channels.

    layers: the entries `name`, `kind`, `shape`, `parameters` of `harness show --json`.
    """
    colours = {"Conv2D": "#6baed6", "Dense": "#fd8d3c", "MaxPooling2D": "#74c476", "InputLayer": "#bdbdbd"}
    figure = Figure(figsize=(7, 0.27 * len(layers) + 0.4), layout="constrained")
    axes = figure.subplots()
    for row, layer in enumerate(layers):
        width = (
            0.25 + 0.75 * (layer["shape"][-1] / 128) ** 0.5
            if len(layer["shape"]) == 3
            else 0.25 + layer["shape"][0] ** 0.5 / 128
        )
        colour = colours.get(layer["kind"], "#f0f0f0")
        axes.barh(row, width, left=-width / 2, height=0.82, color=colour, edgecolor="white")
        axes.text(0, row, layer["name"], ha="center", va="center", fontsize=7)
        note = "×".join(map(str, layer["shape"]))
        if layer["parameters"]:
            note += f"   {layer['parameters']:,} parameters"
        axes.text(0.62, row, note, va="center", fontsize=7)
    axes.set_xlim(-0.6, 1.35)
    axes.invert_yaxis()
    axes.axis("off")
    return figure


def sample_figure(dataset: Dataset) -> Figure:
    """One row per class with its first ten training images, labelled; the title says which data it is."""
    cell = dataset.train_images.shape[1] + GAP
    classes = len(dataset.class_names)
    sheet = np.full((classes * cell - GAP, SAMPLES * cell - GAP, 3), 255, np.uint8)
    for label in range(classes):
        samples = dataset.train_images[np.flatnonzero(dataset.train_labels == label)[:SAMPLES]]
        for column, image in enumerate(samples):
            top, left = label * cell, column * cell
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_title(f"{dataset.name} ({dataset.fingerprint[:8]})")
    axes.set_yticks(np.arange(classes) * cell + (cell - GAP) / 2, dataset.class_names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
