"""One number per seed, tested: its mean against zero, a variant against its baseline, and a family of variants.

Every number is scipy's or statsmodels'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from scipy import stats
    from statsmodels.stats import multitest, proportion, weightstats
else:
    stats = lazy_import("scipy.stats")
    multitest = lazy_import("statsmodels.stats.multitest")
    proportion = lazy_import("statsmodels.stats.proportion")
    weightstats = lazy_import("statsmodels.stats.weightstats")


#: Accuracies are counts over 10,000, but their differences as floats are off by 1e-16. That would split the ties of
#: the permutation test and give equal differences a spread, so numbers this close together are one number.
DECIMALS = 12

#: The sign-flip test visits all 2**n sign patterns while they are no more than this, and else draws this many.
SIGN_PATTERNS = 2**16

#: Differences of accuracy smaller than half a point count as none.
MARGIN = 0.005

#: The chance a family may have of calling at least one difference that is not there.
ALPHA = 0.05

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class OneSample:
    """`n` seeds, their mean and its uncertainty, in the unit of the values (accuracies: a share, 0.01 is one point).

    `sd` is the sample's (n - 1), `interval` the 95 % t interval of the mean, `p` the two-sided sign-flip p of a mean of
    zero.

    `p` is exact up to n = 16, and estimated from seeded draws above. With one seed, all but the mean are None.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None


def one_sample(values: Sequence[float] | np.ndarray) -> OneSample:
    """The mean of one number per seed, with its uncertainty. Raises ValueError for none, or one that is not finite."""
    sample = np.asarray(values, np.float64).round(DECIMALS)
    if not (sample.size and np.isfinite(sample).all()):
        # scipy would answer a NaN with p = 0.
        raise ValueError(f"Needs finite numbers, at least one; got {values}.")
    n, mean = len(sample), float(sample.mean().round(DECIMALS))
    if n < 2:
        return OneSample(n, mean, None, None, None)

    # Whole numbers, whose sums are exact, so that equal sums are equal.
    units = np.rint(sample * 10**DECIMALS)
    p = stats.permutation_test(
        (units,), np.sum, permutation_type="samples", vectorized=True, n_resamples=SIGN_PATTERNS, rng=0
    ).pvalue
    if np.ptp(sample) == 0:
        return OneSample(n, mean, 0.0, (mean, mean), float(p))
    low, high = weightstats.DescrStatsW(sample).tconfint_mean(alpha=0.05)
    return OneSample(n, mean, float(sample.std(ddof=1)), (float(low), float(high)), float(p))


@dataclass(frozen=True)
class Paired(OneSample):
    """The differences variant - baseline, seed by seed, and what they mean for a new pair of runs.

    `probability_of_improvement` (Agarwal et al. 2021) is the probability that a new run of the variant beats a new run
    of the baseline, ties counting half, with a 95 % interval. `equivalence_p` is the TOST p of a mean difference at
    least as large as the margin. With one seed, all three are None.
    """

    probability_of_improvement: float | None
    probability_of_improvement_interval: tuple[float, float] | None
    equivalence_p: float | None


def paired(
    variant: Sequence[float], baseline: Sequence[float], margin: float = MARGIN, *, lower_is_better: bool = False
) -> Paired:
    """Both from the same seeds in the same order. `lower_is_better` says which run of two beats the other.

    Raises ValueError where the two differ in length, or a number is not finite.
    """
    if len(variant) != len(baseline):
        # numpy would stretch a single run over all the others.
        raise ValueError(f"{len(variant)} runs cannot be paired with {len(baseline)}.")
    differences = one_sample(np.subtract(variant, baseline))
    if differences.n < 2:
        return Paired(
            **vars(differences),
            probability_of_improvement=None,
            probability_of_improvement_interval=None,
            equivalence_p=None,
        )

    if differences.sd == 0:
        # A t test needs some spread; the limit of ever less of it is certainty.
        equivalence_p = 0.0 if abs(differences.mean) < margin else 1.0
    else:
        equivalence_p = float(weightstats.ttost_paired(np.asarray(variant), np.asarray(baseline), -margin, margin)[0])
    larger, smaller = (baseline, variant) if lower_is_better else (variant, baseline)
    probability_of_improvement, interval = _probability_of_improvement(larger, smaller)
    return Paired(
        **vars(differences),
        probability_of_improvement=probability_of_improvement,
        probability_of_improvement_interval=interval,
        equivalence_p=equivalence_p,
    )


def _probability_of_improvement(a: Sequence[float], b: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """P(a > b) + P(a = b) / 2 for new, independent runs, and its 95 % interval."""

    n = len(a)
    # Of this test, the statistic alone: how many of the n * n pairs of runs a wins.
    share = float(stats.mannwhitneyu(a, b, method="asymptotic").statistic) / n**2
    # As if these were n pairs of separate runs, whose share of wins varies more: simulated with 5 to 20 seeds, it
    # covers 96 to 99 %. Brunner-Munzel's interval covers as little as 82 % where runs hardly overlap, and there is
    # none where they do not overlap at all.
    low, high = proportion.proportion_confint(share * n, n, method="wilson")
    return share, (float(low), float(high))


@dataclass(frozen=True)
class Compared(Paired):
    """A comparison and its verdict. Both p values of its own are Holm's over the family; None with one seed.

    `enough` is False where these seeds are too few for a verdict, whatever their accuracies.
    """

    p_holm: float | None
    equivalence_p_holm: float | None
    verdict: Verdict
    enough: bool


def compare_family(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    alpha: float = ALPHA,
    *,
    lower_is_better: bool = False,
    margin: float = MARGIN,
) -> dict[str, Compared]:
    """Judge each (variant, baseline) of the family.

    `margin` is in the unit of the values; its default is for accuracies.
    """
    compared = [paired(*pair, margin, lower_is_better=lower_is_better) for pair in pairs.values()]
    p_holm = holm([each.p for each in compared])
    # Adjusted as well: "equivalent" is a claim like the others, and more variants make a false one as much likelier.
    # But on its own, as a comparison cannot err both ways: no true difference is both zero and as large as the margin.
    # So `alpha` bounds the chance of any false difference, and also that of any false equivalence.
    equivalence_p_holm = holm([each.equivalence_p for each in compared])
    needed = fewest_seeds(len(pairs), alpha)

    def judge(each: Paired, p: float | None, equivalence_p: float | None) -> Compared:
        verdict: Verdict = "inconclusive"
        # Too few seeds get no verdict, not even "equivalent": one that could never have said "better" is no finding.
        enough = each.n >= needed
        # First: a difference that is real and within the margin counts as none.
        if enough and equivalence_p is not None and equivalence_p < alpha:
            verdict = "equivalent"
        elif enough and p is not None and p < alpha:
            verdict = "better" if (each.mean < 0) == lower_is_better else "worse"
        return Compared(**vars(each), p_holm=p, equivalence_p_holm=equivalence_p, verdict=verdict, enough=enough)

    return dict(zip(pairs, map(judge, compared, p_holm, equivalence_p_holm), strict=True))


def fewest_seeds(family_size: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which the first comparison in Holm's order can be significant.

    Of the 2**n sign patterns of n differences, two are the most extreme: no p is below 2**(1 - n). Where all
    comparisons have the same n, none of them can be significant with fewer seeds than these.
    """
    return next(n for n in count(2) if family_size * 2 ** (1 - n) < alpha)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted over all of them (Holm 1979). One that is None stays None, and counts as 1."""
    if not p_values:
        return []

    adjusted = multitest.multipletests([1.0 if p is None else p for p in p_values], method="holm")[1]
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]
