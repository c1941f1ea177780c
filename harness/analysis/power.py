"""How often a design finds what is there, and what is not: simulated families, judged by the code for real ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.design import Design, fixed
from harness.analysis.stats import ALPHA, compare_family
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.experiment import LOOKS

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")

#: The chance of finding an effect that a plan asks for.
POWER = 0.9

#: The most seeds that a plan proposes.
MOST_SEEDS = 200

#: Variants of a family of the A/A test: as many as the ablations have, or nearly.
VARIANTS = 4

#: The most runs that such a family takes.
FAMILY = (VARIANTS + 1) * LOOKS[-1]

#: Sizes of the effects of its power curve, in standard deviations of a run.
EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)

#: Families simulated for each point of the power curve, as a share of those of the A/A test.
POWER_SHARE = 0.1

#: Makes the accuracies of one family, [baseline and variants, seed].
Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Rates:
    """What became of simulated families: shares of them, or of their comparisons; `seeds` a comparison, on average.

    `different` comparisons were called better or worse, and `families` had at least one of them. `standard_error` is
    that of `families`.
    """

    simulated: int
    different: float
    equivalent: float
    families: float
    seeds: float

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.families * (1 - self.families) / self.simulated)


def rates(draw: Draw, design: Design, simulated: int, seed: int = 0) -> Rates:
    """Judge so many families. seed: of the drawing."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(simulated):
        baseline, *variants = (dict(zip(design.seeds, runs, strict=True)) for runs in draw(rng))
        family = {str(number): runs for number, runs in enumerate(variants)}
        found.append([(each.verdict, each.n) for each in compare_family(baseline, family, design).values()])
    verdicts = np.array([[verdict for verdict, _ in family] for family in found])
    different = np.isin(verdicts, ("better", "worse"))
    return Rates(
        simulated=simulated,
        different=float(different.mean()),
        equivalent=float((verdicts == "equivalent").mean()),
        families=float(different.any(axis=1).mean()),
        seeds=float(np.mean([[n for _, n in family] for family in found])),
    )


def normal_runs(level: float, sd: float, effects: Sequence[float], seeds: int, correlation: float = 0.0) -> Draw:
    """Families of normal accuracies: the baseline's, and a variant at each of the effects.

    correlation: of the runs that share a seed.
    """

    def draw(rng: np.random.Generator) -> np.ndarray:
        own, shared = rng.normal(size=(len(effects) + 1, seeds)), rng.normal(size=seeds)
        noise = math.sqrt(1 - correlation) * own + math.sqrt(correlation) * shared
        return level + sd * noise + np.array([0.0, *effects])[:, None]

    return draw


def resampled(accuracies: Sequence[float], variants: int, seeds: int, effect: float = 0.0) -> Draw:
    """Families made of real runs of one recipe, none of them twice in a family; the variants are shifted by the effect.

    Raises ValueError where there are fewer runs than a family has.
    """
    runs = np.asarray(accuracies, np.float64)
    if len(runs) < (variants + 1) * seeds:
        raise ValueError(f"A family of {variants} takes {(variants + 1) * seeds} runs; there are {len(runs)}.")

    def draw(rng: np.random.Generator) -> np.ndarray:
        family = rng.permutation(runs)[: (variants + 1) * seeds].reshape(variants + 1, seeds)
        return family + np.array([[0.0], *[[effect]] * variants])

    return draw


def detect(effect: float, sd: float, variants: int, design: Design, simulated: int = 500) -> Rates:
    """What a design makes of variants that are all this much apart from the baseline.

    sd: of a single run, a share of accuracy. Runs that share a seed are taken as independent, which is the worst case.
    """
    effects = [effect] * variants
    return rates(normal_runs(0.5, sd, effects, len(design.seeds)), design, simulated)


def seeds_for(effect: float, sd: float, variants: int) -> int | None:
    """The fixed number of seeds that finds each such effect with a chance of POWER; None beyond MOST_SEEDS."""
    # The t test of one comparison at the level that Bonferroni leaves to it, which no step of Holm's is below.
    for seeds in range(2, MOST_SEEDS + 1):
        freedom = variants * (seeds - 1)
        bound = fixed(range(seeds)).quantile(ALPHA / variants, freedom, seeds)
        shift = effect / (sd * math.sqrt(2 / seeds))
        if stats.nct.sf(bound, freedom, shift) >= POWER:
            return seeds
    return None


@lru_cache
def a_a_test(accuracies: tuple[float, ...], families: int) -> dict[str, Any]:
    """Compare runs that differ in nothing but the seed with each other, and count the differences that are found.

    accuracies: one a run, shares. families: how many families to draw, and how many single comparisons. Returns what
    `harness.reporting.calibration` tells; `normal_p` is of Shapiro and Wilk's test. Raises BadInput for runs that
    are all equal, and ValueError with fewer than FAMILY.
    """
    if np.ptp(accuracies) == 0:
        raise BadInput(f"All {len(accuracies)} runs have the accuracy {accuracies[0]:g}: give runs of different seeds.")
    design, sd = Design(tuple(range(LOOKS[-1])), LOOKS), float(np.std(accuracies, ddof=1))
    freedom = len(accuracies) - 1

    def drawn(variants: int, effect: float, simulated: int) -> dict[str, float]:
        found = rates(resampled(accuracies, variants, LOOKS[-1], effect), design, simulated)
        return {**vars(found), "standard_error": found.standard_error}

    fewer = max(int(POWER_SHARE * families), 10)
    return {
        "runs": len(accuracies),
        "mean": float(np.mean(accuracies)),
        "sd": sd,
        "sd_interval": [sd * math.sqrt(freedom / stats.chi2.isf(tail, freedom)) for tail in (ALPHA / 2, 1 - ALPHA / 2)],
        "skewness": float(stats.skew(accuracies, bias=False)),
        "excess_kurtosis": float(stats.kurtosis(accuracies, bias=False)),
        "normal_p": float(stats.shapiro(accuracies).pvalue),
        "looks": list(LOOKS),
        "variants": VARIANTS,
        "single": drawn(1, 0.0, families),
        "family": drawn(VARIANTS, 0.0, families),
        "power": [
            {"effect_in_sd": effect, "effect": effect * sd, **drawn(VARIANTS, effect * sd, fewer)} for effect in EFFECTS
        ],
    }
