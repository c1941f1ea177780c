"""Tests and verdicts. Every number is scipy's or statsmodels'; these files decide which test answers which question.

    against_target(accuracies, 0.86)                        # one variant against a published number
    compare_family({"no flips": (without, baseline), ...})  # variants against a baseline, seed by seed
    effects(cells, ["scaling", "normalization"])            # what each of several choices does, and jointly

All three take finished runs alone: counting the ones that diverged is the caller's. scipy and statsmodels are
imported where they are used: that takes seconds, and one run shows its result without them.
"""

from harness.analysis.factorial import Effect, effects
from harness.analysis.paired import MARGIN, Paired, paired
from harness.analysis.stats import ALPHA, Compared, Verdict, compare_family, fewest_seeds
from harness.analysis.target import TARGET_ALPHA, AgainstTarget, TargetVerdict, against_target

__all__ = [
    "ALPHA",
    "MARGIN",
    "TARGET_ALPHA",
    "AgainstTarget",
    "Compared",
    "Effect",
    "Paired",
    "TargetVerdict",
    "Verdict",
    "against_target",
    "compare_family",
    "effects",
    "fewest_seeds",
    "paired",
]
