"""One number per seed, judged: its mean against zero, and a family of variants against their baseline."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.design import Design
from harness.common import rounded
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from scipy import special, stats
    from statsmodels.stats import proportion
else:
    special = lazy_import("scipy.special")
    stats = lazy_import("scipy.stats")
    proportion = lazy_import("statsmodels.stats.proportion")


#: Accuracies are counts over 10,000, but their differences as floats are off by 1e-16. That would give equal
#: differences a spread, so numbers this close together are one number.
DECIMALS = 12

#: Differences of accuracy smaller than half a point count as none.
MARGIN = 0.005

#: The chance a family may have of calling at least one difference that is not there.
ALPHA = 0.05

#: What a run that diverged counts as, and is never dropped: the accuracy of guessing one of ten classes.
CHANCE = 0.1

#: A spread that chance makes as large in fewer than this share of comparisons is not pooled with the others.
OWN = 0.2

#: A run below this accuracy is called stuck: it is hardly better than guessing.
STUCK = 0.15

Verdict = Literal["better", "worse", "equivalent", "undecided", "too few seeds", "exploratory"]

Interval = tuple[float, float]

#: How many numbers, their mean and their standard deviation, which one number alone does not have.
Moments = tuple[int, float, float | None]


@dataclass(frozen=True)
class OneSample:
    """`n` seeds, their mean and its uncertainty, in the unit of the values (accuracies: a share, 0.01 is one point).

    `sd` is the sample's (n - 1), `interval` a 95 % interval of the mean, and `p` the two-sided p of a mean of zero. At
    a look of the design both hold for all of its looks. Between looks, or in an exploratory design, the interval is the
    t interval of these seeds, and there is no p. With one seed, or without any spread, both are None.
    """

    n: int
    mean: float
    sd: float | None
    interval: Interval | None
    p: float | None


def one_sample(values: Sequence[float] | np.ndarray, design: Design) -> OneSample:
    """The mean of one number per seed, with its uncertainty by its own spread.

    Raises ValueError for no number, or one that is not finite.
    """
    sample = _checked(values)
    n, mean, sd = _moments(sample)
    if not sd:
        return OneSample(n, mean, sd, None, None)
    error, freedom = sd / math.sqrt(n), n - 1
    if n not in design.looks or design.exploratory:
        return OneSample(n, mean, sd, _around(mean, error * float(stats.t.isf(ALPHA / 2, freedom))), None)
    interval = _around(mean, error * design.quantile(ALPHA, freedom, n))
    return OneSample(n, mean, sd, interval, design.p(mean / error, freedom, n))


def t_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of a mean by Student's t, for it alone; None for one value, or equal ones."""
    if len(set(values)) < 2:
        return None
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return float(low), float(high)


def standard_deviation(sample: np.ndarray) -> float:
    """The standard deviation of at least two numbers: exactly 0 if they are equal, though their mean is rounded."""
    return float(sample.std(ddof=1)) if np.ptp(sample) else 0.0


def pooled_sd(samples: Iterable[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within samples, pooled over them, and its degrees of freedom: 0 if each has one value."""
    several = [sample for sample in samples if len(sample) > 1]
    squares = sum(float(np.var(sample)) * len(sample) for sample in several)
    freedom = sum(len(sample) - 1 for sample in several)
    return math.sqrt(squares / freedom) if freedom else 0.0, freedom


@dataclass(frozen=True)
class Compared(OneSample):
    """The differences variant - baseline, seed by seed, at the look that decided them or the last one that there is.

    `p_holm` is adjusted over the family. `confidence` is that of `interval`: the interval leaves out zero exactly where
    `p_holm` is below ALPHA, for which it is wider than a 95 % interval where others of the family are undecided too.
    `failed` counts the pairs with a run that is stuck or diverged; such a comparison is judged by its own spread.
    `probability_of_improvement` (Agarwal et al. 2021) is the probability that a new run of the variant beats a new run
    of the baseline, ties counting half, with a 95 % interval. `goes_on`: more seeds of the design are still to come.
    """

    p_holm: float | None
    confidence: float | None
    probability_of_improvement: float | None
    probability_of_improvement_interval: Interval | None
    verdict: Verdict
    failed: int
    goes_on: bool

    def __str__(self) -> str:
        return rounded.points(self.mean, self.interval)


def compare_family(
    baseline: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    design: Design,
    claims: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Compared]:
    """Judge each variant of the family against the baseline: accuracies by seed, CHANCE for a run that diverged.

    The looks are taken in order, each when all variants that are still undecided have its seeds. A comparison is
    decided when it has a verdict and its interval is clear of all its `claims` (differences that were predicted); it
    keeps what it was at that look, whichever seeds are there besides. A variant without a seed in common with the
    baseline counts in the family, and is not in the answer. Raises ValueError for numbers that are not finite.
    """
    common = {name: [seed for seed in design.seeds if seed in values and seed in baseline]
              for name, values in variants.items()}  # fmt: skip
    pairs = {
        name: _checked([[values[seed], baseline[seed]] for seed in common[name]]).T
        for name, values in variants.items()
        if common[name]
    }
    if design.exploratory:
        return {name: _unjudged(pair, design, "exploratory") for name, pair in pairs.items()}
    found: dict[str, Compared] = {}
    for look in design.looks:
        due = [name for name in variants if name not in found or found[name].goes_on]
        seeds = list(design.seeds[:look])
        if look < 2 or not due or any(common[name][:look] != seeds for name in due):
            break
        now = {name: pairs[name][:, :look] for name in due}
        found |= _look(now, found, design, claims or {})
    return {name: found.get(name) or _unjudged(pair, design, "too few seeds") for name, pair in pairs.items()}


def _look(
    pairs: Mapping[str, np.ndarray],
    found: Mapping[str, Compared],
    design: Design,
    claims: Mapping[str, Sequence[float]],
) -> dict[str, Compared]:
    """Judge the pairs [variant and baseline, seed] of those that are undecided; the others keep their p."""
    moments = {name: _moments(pair[0] - pair[1]) for name, pair in pairs.items()}
    pooled = _pooled(pairs.values())
    spread = {name: _spread(pair, moments[name], pooled) for name, pair in pairs.items()}
    p_values = {name: each.p for name, each in found.items()}
    for name, (n, mean, _) in moments.items():
        error, freedom = spread[name]
        p_values[name] = design.p(mean / error, freedom, n) if error else None
    p_holm = holm(p_values)
    alphas = dict(zip(p_values, levels(list(p_values.values())), strict=True))
    return {
        name: _judged(
            pair, moments[name], spread[name], p_values[name], p_holm[name], alphas[name], design, claims.get(name, ())
        )
        for name, pair in pairs.items()
    }


def _pooled(pairs: Collection[np.ndarray]) -> tuple[float, int]:
    """The standard deviation of a difference, pooled over the pairs that share a baseline and have no failed run.

    With its degrees of freedom, which are 0 if there is no such pair.
    """
    sound = [pair for pair in pairs if not _failed(pair)]
    if not sound:
        return 0.0, 0
    arms = np.stack([sound[0][1], *(pair[0] for pair in sound)])
    residual = arms - arms.mean(0) - arms.mean(1, keepdims=True) + arms.mean()
    freedom = (len(arms) - 1) * (arms.shape[1] - 1)
    # A difference of two runs has twice the variance of one.
    return math.sqrt(2 * float((residual**2).sum()) / freedom), freedom


def _spread(pair: np.ndarray, moments: Moments, pooled: tuple[float, int]) -> tuple[float, int]:
    """The standard error of a mean difference, and its degrees of freedom.

    Pooled over the runs of the family (the residual of variant and seed), and at least the comparison's own: pooling
    alone calls a noisy variant different in up to 9 % of families without any difference. A comparison whose own spread
    is larger than chance explains (an F test at OWN) is judged by it alone; so is one with a run that is stuck, as such
    runs have no spread, or a second mode.
    """
    n, own = moments[0], moments[2] or 0.0
    alone = own / math.sqrt(n), n - 1
    if _failed(pair):
        return alone
    # Of a pair whose differences are all equal, none is shown by pooling either.
    sd, freedom = pooled if own else (0.0, pooled[1])
    if own > sd and special.fdtrc(n - 1, freedom, own**2 / sd**2) < OWN:
        return alone
    return max(sd, own) / math.sqrt(n), freedom


def _judged(
    pair: np.ndarray,
    moments: Moments,
    spread: tuple[float, int],
    p: float | None,
    p_holm: float | None,
    alpha: float,
    design: Design,
    claims: Sequence[float],
) -> Compared:
    n, mean, sd = moments
    error, freedom = spread
    interval = _around(mean, error * design.quantile(alpha, freedom, n)) if error else None
    verdict: Verdict = "undecided"
    if interval:
        low, high = interval
        if low > -MARGIN and high < MARGIN:
            # First: a difference that is real and within the margin counts as none.
            verdict = "equivalent"
        elif low > 0 or high < 0:
            verdict = "better" if low > 0 else "worse"
    clear = interval is not None and not any(interval[0] <= claim <= interval[1] for claim in claims)
    improvement, improvement_interval = _probability_of_improvement(*pair)
    return Compared(
        n, mean, sd, interval, p, p_holm, 1 - alpha, improvement, improvement_interval, verdict, _failed(pair),
        goes_on=n < design.looks[-1] and not (verdict != "undecided" and clear),
    )  # fmt: skip


def _unjudged(pair: np.ndarray, design: Design, verdict: Verdict) -> Compared:
    """A comparison without p: what its seeds show, and nothing about others."""
    sample = one_sample(pair[0] - pair[1], dataclasses.replace(design, exploratory=True))
    improvement = _probability_of_improvement(*pair) if sample.n > 1 else (None, None)
    return Compared(
        **vars(sample), p_holm=None, confidence=1 - ALPHA if sample.interval else None,
        probability_of_improvement=improvement[0], probability_of_improvement_interval=improvement[1],
        verdict=verdict, failed=_failed(pair), goes_on=verdict == "too few seeds",
    )  # fmt: skip


def _checked(values: Sequence[float] | Sequence[list[float]] | np.ndarray) -> np.ndarray:
    sample = np.asarray(values, np.float64)
    if not (sample.size and np.isfinite(sample).all()):
        raise ValueError(f"Needs finite numbers, at least one; got {values}.")
    return sample


def _moments(sample: np.ndarray) -> Moments:
    sample = sample.round(DECIMALS)
    sd = standard_deviation(sample) if len(sample) > 1 else None
    return len(sample), float(sample.mean().round(DECIMALS)), sd


def _failed(pair: np.ndarray) -> int:
    return int((pair < STUCK).any(axis=0).sum())


def _around(mean: float, half: float) -> Interval:
    return mean - half, mean + half


def _probability_of_improvement(a: np.ndarray, b: np.ndarray) -> tuple[float, Interval]:
    """P(a > b) + P(a = b) / 2 for new, independent runs, and its 95 % interval."""
    n = len(a)
    share = float((np.sign(np.subtract.outer(a, b)) / 2 + 0.5).mean())
    # As if these were n pairs of separate runs, whose share of wins varies more: simulated with 5 to 20 seeds, it
    # covers 96 to 99 %. Brunner-Munzel's interval covers as little as 82 % where runs hardly overlap, and there is
    # none where they do not overlap at all.
    return share, _wilson(share, n)


@lru_cache(1_000)
def _wilson(share: float, n: int) -> Interval:
    """Wilson's 95 % interval. There are few shares of n runs, and an A/A test asks for them 200,000 times."""
    low, high = proportion.proportion_confint(share * n, n, method="wilson")
    return float(low), float(high)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p values adjusted over all of them (Holm 1979). One that is None stays None, and counts as 1.

    statsmodels has this too, but collects garbage each time: an A/A test adjusts 30,000 families.
    """
    values = np.array([1.0 if p is None else p for p in p_values.values()])
    order = values.argsort()
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return {name: None if p is None else float(a) for (name, p), a in zip(p_values.items(), adjusted, strict=True)}


def levels(p_values: Sequence[float | None]) -> list[float]:
    """The level at which Holm's procedure tests each of the p values; it stops at the first that is not below it."""
    values = np.array([1.0 if p is None else p for p in p_values])
    found, order, level = np.empty(len(values)), values.argsort(), 0.0
    stopped = False
    for rank, index in enumerate(order):
        level = level if stopped else ALPHA / (len(values) - rank)
        stopped = stopped or values[index] >= level
        found[index] = level
    return [float(each) for each in found]
