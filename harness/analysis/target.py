"""Claims, and what the runs say of them: the published numbers, and the predictions of an experiment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.stats import Compared
from harness.common.lazy import lazy_import
from harness.experiment import Prediction

Score = Literal["supported", "refuted", "inconclusive"]


if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")


#: One-sided level of a verdict against a target.
TARGET_ALPHA = 0.01

TargetVerdict = Literal[
    "exceeds", "consistent", "below", "not enough runs for a verdict", "not compared", "none: a run diverged"
]


@dataclass(frozen=True)
class AgainstTarget:
    """Seeds against a fixed target, in the unit of the values. `interval` is the 95 % t interval of the mean.

    `p` is the smaller of the two one-sided p values. With one seed, `sd`, `interval` and `p` are None. `exceeds` means
    better than the target, whichever way is better. The last two verdicts are given by a report: "not compared" where
    the target says nothing about such runs, and "none: a run diverged" where the mean is of the other seeds alone.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None
    verdict: TargetVerdict


def against_target(values: Sequence[float], target: float, *, lower_is_better: bool = False) -> AgainstTarget:
    """One-sided t tests both ways at `TARGET_ALPHA`."""
    sample = np.asarray(values, np.float64)
    n, mean = len(sample), float(sample.mean())
    if n < 2:
        return AgainstTarget(n, mean, None, None, None, "not enough runs for a verdict")
    # Here, and not at the top: importing it takes seconds, and one run shows its result without it.

    sd = float(sample.std(ddof=1))
    if sd == 0:
        # A t test needs some spread; equal runs leave it undefined.
        return AgainstTarget(n, mean, sd, None, None, "not enough runs for a verdict")
    p_above = float(stats.ttest_1samp(sample, target, alternative="greater").pvalue)
    p_under = float(stats.ttest_1samp(sample, target, alternative="less").pvalue)
    p_better, p_worse = (p_under, p_above) if lower_is_better else (p_above, p_under)
    low, high = stats.ttest_1samp(sample, target).confidence_interval(0.95)
    verdict: TargetVerdict = "consistent"
    if p_better < TARGET_ALPHA:
        verdict = "exceeds"
    elif p_worse < TARGET_ALPHA:
        verdict = "below"
    return AgainstTarget(n, mean, sd, (float(low), float(high)), min(p_better, p_worse), verdict)


def score(prediction: Prediction, compared: Compared) -> tuple[Score, str]:
    """Whether a prediction was supported, refuted or neither, and because of which numbers.

    Supported: the verdict is the predicted one, and the mean difference at least the predicted size. Refuted: the
    95 % interval of the difference holds no value that was predicted, or the verdict contradicts the predicted one.
    """
    low, high = compared.interval or (-math.inf, math.inf)
    verdict, mean, by = compared.verdict, compared.mean, prediction.by
    numbers = f"{mean * 100:+.2f} points"
    if compared.interval:
        numbers += f" [{low * 100:+.2f}, {high * 100:+.2f}], n = {compared.n}, verdict {verdict}"
    wanted = prediction.direction + (f" by at least {by * 100:g} point{'s' * (by != 0.01)}" if by else "")
    if prediction.direction == "equivalent":
        supported, refuted = verdict == "equivalent", verdict in ("better", "worse")
    else:
        # The difference in the predicted direction, and the largest value of it that the data allow.
        toward, most = (-mean, -low) if prediction.direction == "worse" else (mean, high)
        supported = verdict == prediction.direction and toward >= by
        refuted = compared.enough and (most < by or verdict in {"better", "worse"} - {prediction.direction})
    outcome: Score = "supported" if supported else "refuted" if refuted else "inconclusive"
    return outcome, f"predicted {wanted}; measured {numbers}"
