"""What the epochs of several runs come to: how soon they learned, and what was measured inside the network."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.stats import t_interval
from harness.runs.records import History
from harness.runs.spec import RunResult

#: Measures that span orders of magnitude: their mean is the geometric one.
GEOMETRIC = ("gradient_ratio", "gradient_norm")

#: A ratio or norm of zero has no logarithm, and counts as this.
SMALLEST = 1e-30


@dataclass(frozen=True)
class Reached:
    """The median `epoch`, counted from 1, over the runs that reached an accuracy; their `share` of all runs.

    `epoch` is None where no run did.
    """

    epoch: float | None
    share: float


def reached(histories: Sequence[History], level: float) -> Reached:
    """When the accuracy on the images that judge the runs was first at least `level`."""
    first: list[float] = []
    for history in histories:
        at = [row["epoch"] for row in history if row.get("test_accuracy", row.get("validation_accuracy", 0)) >= level]
        first += at[:1]
    return Reached(statistics.median(first) if first else None, len(first) / len(histories))


def code_that_measured_last(results: Sequence[RunResult], names: Sequence[str]) -> str:
    """Of the finished runs with any of these measures, the `measured_by` of the one that ended last; else empty."""
    measured = [
        each for each in results if each.result.status == "finished" and any(_values([each.history], n) for n in names)
    ]
    last = max(measured, key=lambda each: each.history[-1].get("timestamp", 0), default=None)
    return last.result.measured_by if last else ""


@dataclass(frozen=True)
class Inside:
    """A measure from inside the network over `n` runs, each with its mean over layers and epochs.

    The 95 % interval is Student's over the runs, for this measure alone; None with one run, or equal ones. Measures of
    GEOMETRIC are averaged as logarithms.
    """

    n: int
    mean: float
    interval: tuple[float, float] | None


def mechanism(
    finished: Sequence[RunResult], names: Sequence[str], measured_by: str
) -> tuple[dict[str, Inside | None], int]:
    """Each measure over the runs; None where it was not taken.

    Only runs that were measured by that code count, as other code may measure something else by the same name: the
    second value is how many runs with any of these measures were left out.
    """
    own = [each.history for each in finished if each.result.measured_by == measured_by]
    others = [each.history for each in finished if each.result.measured_by != measured_by]
    left_out = sum(any(_values([history], name) for name in names) for history in others)
    return {name: _inside([_values([history], name) for history in own], name) for name in names}, left_out


def _values(histories: Sequence[History], measure: str) -> list[float]:
    """All finite values of a measure, whichever layer they are of."""
    return [
        value
        for history in histories
        for row in history
        for name, value in row.items()
        if name.partition("/")[0] == measure and math.isfinite(value)
    ]


def _inside(values: Sequence[Sequence[float]], measure: str) -> Inside | None:
    """values: of each run."""
    geometric = measure in GEOMETRIC
    each = [
        statistics.fmean(math.log(max(value, SMALLEST)) for value in own) if geometric else statistics.fmean(own)
        for own in values
        if own
    ]
    if not each:
        return None
    mean, back = statistics.fmean(each), math.exp if geometric else float
    interval = t_interval(each)
    return Inside(len(each), back(mean), (back(interval[0]), back(interval[1])) if interval else None)
