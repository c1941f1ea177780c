"""What the notebook claims, and its own training curve, read off its figures (±0.002 accuracy, ±0.01 loss)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.common.lazy import lazy_import
from harness.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

#: "Model is able to achieve an accuracy of 0.86, with crossentropy < 0.7 on the test set".
ACCURACY_TARGET = 0.86
CROSS_ENTROPY_TARGET = 0.70

#: An epoch of the published run, all of CIFAR-10. One of fewer images is another thing.
TRAIN_IMAGES = 50_000

#: Epochs in which a run with dropout 0.5 may not have begun to learn: curves are compared as a whole, and after them.
START = 10
#: Accuracies whose first epoch tells how fast a run goes.
MILESTONES = (0.80, ACCURACY_TARGET)


@cache
def curve() -> "pd.DataFrame":
    """Columns epoch, train_accuracy, test_accuracy, train_loss, test_loss; 200 rows, NaN where off the figure."""
    return pd.read_csv(Path(__file__).with_name("published_curve.csv"))


def final() -> dict[str, float]:
    """The published run's end: means over its epochs 181-200."""
    return {str(name): float(value) for name, value in curve()[180:200].mean().items() if name != "epoch"}


@dataclass(frozen=True)
class Distance:
    """How far a run's test accuracy is from the published one: absolute differences, as shares (0.01 is one point).

    The `largest` is at `epoch`; the `mean` is over the first `epochs`; `largest_after_start` is that after the first
    START epochs, None where there are no more. `first`: for each milestone the first epoch of this run and of the
    published one that reached it, None where none has. Epochs count from 1.
    """

    largest: float
    epoch: int
    mean: float
    epochs: int
    largest_after_start: float | None
    first: dict[str, tuple[int | None, int | None]]


def distance(test_accuracy: Sequence[float]) -> Distance:
    """test_accuracy: of each epoch, from the first on."""
    published = curve()["test_accuracy"][: len(test_accuracy)]
    apart = (published - list(test_accuracy)[: len(published)]).abs()
    return Distance(
        largest=float(apart.max()),
        epoch=int(apart.to_numpy().argmax()) + 1,
        mean=float(apart.mean()),
        epochs=len(apart),
        largest_after_start=float(apart[START:].max()) if len(apart) > START else None,
        first={
            f"{accuracy:.2f}": (_first(test_accuracy, accuracy), _first(curve()["test_accuracy"], accuracy))
            for accuracy in MILESTONES
        },
    )


def _first(accuracies: Iterable[float], least: float) -> int | None:
    """The epoch, counted from 1, that first has so much."""
    return next((epoch for epoch, accuracy in enumerate(accuracies, start=1) if accuracy >= least), None)


def comparable_run(config: RunConfig) -> bool:
    """Whether a run may be drawn over the published curve: trained on all of CIFAR-10, judged by its test images."""
    return comparable(config.data) and config.split == "final" and config.train_images == TRAIN_IMAGES


def comparable(data: str) -> bool:
    """Whether the claims say anything about this data: they do about CIFAR-10, whichever copy."""
    return data.startswith("cifar10")
