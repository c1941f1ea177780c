"""Tests and verdicts. Every number is scipy's or statsmodels'; these files decide which test answers which question.

    against_target(accuracies, 0.86)                        # one variant against a published number
    compare_family({"no flips": (without, baseline), ...})  # variants against a baseline, seed by seed
    effects(cells, ["scaling", "normalization"])            # what each of several choices does, and jointly
    make_report(experiment, results)                        # (harness.analysis.make_report) all of it

The first three take one number per seed: what a run that diverged counts as is `make_report`'s to say. scipy and
statsmodels are imported where they are used: that takes seconds, and one run shows its result without them.
"""

from harness.analysis.factorial import Effect, effects
from harness.analysis.stats import ALPHA, MARGIN, Compared, Paired, Verdict, compare_family, fewest_seeds, paired
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
