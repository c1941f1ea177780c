"""Runs against a fixed number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.common.lazy import lazy_import

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
