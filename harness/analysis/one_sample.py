"""One number per seed, against zero: what paired differences and factorial contrasts have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Accuracies are counts over 10,000, but their differences as floats are off by 1e-16. That would split the ties of
#: the permutation test and give equal differences a spread, so numbers this close together are one number.
DECIMALS = 12

#: The sign-flip test visits all 2**n sign patterns while they are no more than this, and else draws this many.
SIGN_PATTERNS = 2**16


@dataclass(frozen=True)
class OneSample:
    """`interval` is the 95 % t interval of the mean, `p` the two-sided sign-flip p of a mean of zero.

    `p` is exact up to n = 16, and estimated from seeded draws above. With one seed, all but the mean are None.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None


def one_sample(values: Sequence[float] | np.ndarray) -> OneSample:
    """The mean of one number per seed, with its uncertainty."""
    sample = np.asarray(values, np.float64).round(DECIMALS)
    if not (sample.size and np.isfinite(sample).all()):
        # scipy would answer a NaN with p = 0.
        raise ValueError(f"Needs finite numbers, at least one; got {values}.")
    n, mean = len(sample), float(sample.mean().round(DECIMALS))
    if n < 2:
        return OneSample(n, mean, None, None, None)
    from scipy import stats
    from statsmodels.stats.weightstats import DescrStatsW

    # Whole numbers, whose sums are exact, so that equal sums are equal.
    units = np.rint(sample * 10**DECIMALS)
    p = stats.permutation_test(
        (units,), np.sum, permutation_type="samples", vectorized=True, n_resamples=SIGN_PATTERNS, rng=0
    ).pvalue
    if np.ptp(sample) == 0:
        return OneSample(n, mean, 0.0, (mean, mean), float(p))
    low, high = DescrStatsW(sample).tconfint_mean(alpha=0.05)
    return OneSample(n, mean, float(sample.std(ddof=1)), (float(low), float(high)), float(p))
