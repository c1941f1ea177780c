"""How the learning rate of each variant is chosen: several seeds for each rate, more rates beyond an edge.

Every variant is tuned alike, the baseline too, on the validation images. A rate that is best by chance alone decides a
comparison, so a choice also tells whether it is clear.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.analysis.stats import CHANCE, STUCK, pooled_sd
from harness.experiment import BASELINE
from harness.run_options import TUNING_SEEDS
from harness.runs.spec import RunResult

#: The rates that are tried first, as factors on the recipe's own. Beyond an edge the next one is STEP further.
FACTORS = (1 / 4, 1 / 2, 1.0, 2.0)
STEP = 2.0
WIDEST = 64.0

#: The seeds of every rate, and those that the best two get where they are too close to tell. No result may have any of
#: them: a rate must not be judged by the seeds that chose it.
SEEDS, MORE_SEEDS = TUNING_SEEDS[:2], TUNING_SEEDS[2:]

#: A choice is clear if the second best mean is this many standard errors lower.
CLEAR = 2.0

#: How often the means are drawn again for the interval of `maxima`, and the seed of that drawing.
RESAMPLES = 10_000
BOOTSTRAP_SEED = 0

#: Validation accuracies of one variant: by factor, then by seed.
Tried = Mapping[float, Mapping[int, float]]


@dataclass(frozen=True)
class Maxima:
    """The best mean of a variant minus that of the baseline, whichever rates have them.

    The interval is a 95 % one, and None where no rate of one of the two lets all of its seeds learn: nothing is known
    of the spread then.
    """

    difference: float
    interval: tuple[float, float] | None


def tried_by_variant(results: Iterable[RunResult]) -> dict[str, Tried]:
    """The validation accuracies of the tuning runs, by variant."""
    tried: dict[str, dict[float, dict[int, float]]] = {}
    for each in results:
        if each.spec.phase == "tuning":
            of_variant = tried.setdefault(each.spec.variant, {})
            of_variant.setdefault(each.spec.factor, {})[each.spec.config.seed] = each.result.metrics.get(
                "accuracy", CHANCE
            )
    return dict(tried)


def unclear(tried: Mapping[str, Tried]) -> set[str]:
    """The variants that get no verdict when retuned: their own best learning rate is not clear, or the baseline's."""
    found = {variant for variant, each in tried.items() if not is_clear(each)}
    return set(tried) if BASELINE in found else found


def next_runs(tried: Tried) -> list[tuple[float, int]]:
    """Return the runs, (factor, seed), that the tuning of a variant needs next; none if it is done."""
    factors = sorted({*FACTORS, *tried})
    missing = [(factor, seed) for factor in factors for seed in SEEDS if seed not in tried.get(factor, {})]
    if missing:
        return missing
    best, second = ranked(tried)[:2]
    if best == factors[0] and best / STEP >= 1 / WIDEST:
        return [(best / STEP, seed) for seed in SEEDS]
    if best == factors[-1] and best * STEP <= WIDEST:
        return [(best * STEP, seed) for seed in SEEDS]
    if not _apart(tried, best, second):
        return [(factor, seed) for factor in (best, second) for seed in MORE_SEEDS if seed not in tried[factor]]
    return []


def ranked(tried: Tried) -> list[float]:
    """Return the factors, the one with the best mean first; of equals the lower one, which is the safer one."""
    return sorted(tried, key=lambda factor: (-_mean(tried, factor), factor))


def is_clear(tried: Tried) -> bool:
    """Whether the best factor is inside the grid and its mean clear of the second best."""
    order = ranked(tried)
    inside = min(tried) < order[0] < max(tried)
    return inside and not next_runs(tried) and _apart(tried, *order[:2])


def maxima(variant: Tried, baseline: Tried) -> Maxima:
    """Compare the best means of two variants, where the rates themselves are not clear.

    A parametric bootstrap: each mean is drawn from a normal distribution with the spread of its seeds, which is pooled
    over the rates of a variant, as two seeds say little about it. The maximum of uncertain means is too high, the
    more so the more rates are nearly as good: no verdict is read off it.
    """
    difference = _mean(variant, ranked(variant)[0]) - _mean(baseline, ranked(baseline)[0])
    ours, theirs = _spread(variant), _spread(baseline)
    if ours is None or theirs is None:
        return Maxima(difference, None)
    random = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = _drawn_maxima(variant, ours, random) - _drawn_maxima(baseline, theirs, random)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Maxima(difference, (float(low), float(high)))


def _drawn_maxima(tried: Tried, spread: float, random: np.random.Generator) -> np.ndarray:
    means = np.array([_mean(tried, factor) for factor in tried])
    errors = np.array([spread / math.sqrt(len(values)) for values in tried.values()])
    return (means + errors * random.standard_normal((RESAMPLES, len(means)))).max(axis=1)


def _apart(tried: Tried, best: float, second: float) -> bool:
    """Whether a rate is better than another beyond chance: not where a seed of it is stuck, and another may be too."""
    spread = _spread(tried)
    if spread is None or not _learned(tried[best]):
        return False
    error = spread * math.sqrt(1 / len(tried[best]) + 1 / len(tried[second]))
    return _mean(tried, best) - _mean(tried, second) > CLEAR * error


def _spread(tried: Tried) -> float | None:
    """The standard deviation between seeds, pooled over the rates at which all of them learned; None without one."""
    spread, freedom = pooled_sd([list(values.values()) for values in tried.values() if _learned(values)])
    return spread if freedom else None


def _learned(values: Mapping[int, float]) -> bool:
    return min(values.values()) >= STUCK


def _mean(tried: Tried, factor: float) -> float:
    return float(np.mean(list(tried[factor].values())))
