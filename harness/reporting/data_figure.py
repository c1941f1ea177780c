"""What the data looks like."""

from typing import TYPE_CHECKING

import numpy as np

from harness.data.dataset import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 10  # per class
GAP = 2  # white pixels between two samples


def sample_figure(dataset: Dataset) -> "Figure":
    """One row per class with its first ten training images, labelled; the title says which data it is."""
    from matplotlib.figure import Figure

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
