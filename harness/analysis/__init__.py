"""Tests, intervals and verdicts: which of them answers which question. What scipy and statsmodels have is theirs.

    design = Design(seeds=(0, ..., 9), looks=(4, 7, 10))    # when one looks, declared before the first run
    against_target(accuracies, 0.86, design)                # one variant against a published number
    compare_family(baseline, {"no flips": without}, design) # variants against a baseline, seed by seed
    effects(cells, ["scaling", "normalization"], design)    # what each of several choices does, and jointly
    make_report(experiment, results, design)                # (harness.analysis.make_report) all of it

The second to fourth take one number per seed: what a run that diverged counts as is `make_report`'s to say. scipy and
statsmodels are imported where they are used: that takes seconds, and one run shows its result without them.
"""

from harness.analysis.design import Design, fixed
from harness.analysis.factorial import Effect, effects
from harness.analysis.stats import ALPHA, MARGIN, Compared, Verdict, compare_family
from harness.analysis.target import AgainstTarget, TargetVerdict, against_target

__all__ = [
    "ALPHA",
    "MARGIN",
    "AgainstTarget",
    "Compared",
    "Design",
    "Effect",
    "TargetVerdict",
    "Verdict",
    "against_target",
    "compare_family",
    "effects",
    "fixed",
]
