"""How often a design finds what is there, and what is not: simulated families, judged by the code for real ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.design import Design, fixed
from harness.analysis.stats import ALPHA, compare_family
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")

#: The chance of finding an effect that a plan asks for.
POWER = 0.9

#: The most seeds that a plan proposes.
MOST_SEEDS = 200

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
