"""The comparisons that one experiment declares, judged together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from harness.analysis.paired import MARGIN, Paired, paired

#: The chance a family may have of calling at least one difference that is not there.
ALPHA = 0.05

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class Compared:
    """One comparison and its verdict. Both p values are Holm's over the family; None with one seed.

    `enough` is False where these seeds are too few for a verdict, whatever their runs had come to.
    """

    paired: Paired
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
        return Compared(each, p, equivalence_p, verdict, enough)

    return dict(zip(pairs, map(judge, compared, p_holm, equivalence_p_holm), strict=True))


def fewest_seeds(family_size: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which the first comparison in Holm's order can be significant.

    Of the 2**n sign patterns of n differences, two are the most extreme: no p is below 2**(1 - n). Where all
    comparisons have the same n, none of them can be significant with fewer seeds than these.
    """
    return next(n for n in count(2) if family_size * 2 ** (1 - n) < alpha)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted over all of them. One that could not be computed stays None, and still counts as one."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([1.0 if p is None else p for p in p_values], method="holm")[1]
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]
