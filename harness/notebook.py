"""What the notebook claims, and its own training curve, read off its figures (±0.002 accuracy, ±0.01 loss)."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: "Model is able to achieve an accuracy of 0.86, with crossentropy < 0.7 on the test set".
ACCURACY_TARGET = 0.86
CROSS_ENTROPY_TARGET = 0.70


@cache
def curve() -> "pd.DataFrame":
    """Columns epoch, train_accuracy, test_accuracy, train_loss, test_loss; 200 rows, NaN where off the figure."""
    import pandas as pd

    return pd.read_csv(Path(__file__).with_name("published_curve.csv"))


def final() -> dict[str, float]:
    """The published run's end: means over its epochs 181-200."""
    return {str(name): float(value) for name, value in curve()[180:200].mean().items() if name != "epoch"}


def distance(test_accuracy: Sequence[float]) -> dict[str, float]:
    """How far a run's test accuracy, epoch by epoch from the first, is from the published one.

    `largest` absolute difference and the `epoch` it is at, the `mean` absolute difference, and over how many
    `epochs`.
    """
    published = curve()["test_accuracy"][: len(test_accuracy)]
    apart = (published - list(test_accuracy)[: len(published)]).abs()
    return {
        "largest": float(apart.max()),
        "epoch": int(apart.to_numpy().argmax()) + 1,
        "mean": float(apart.mean()),
        "epochs": len(apart),
    }


def comparable(data: str) -> bool:
    """Whether the claims say anything about this data: they do about CIFAR-10, whichever copy."""
    return data.startswith("cifar10")
