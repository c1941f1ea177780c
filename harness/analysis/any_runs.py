"""Groups of runs of any kind against a baseline group: one number a run, whoever trained it.

Nothing is known of the scale of that number, so there is no margin below which a difference counts as none, and no
level below which a run counts as failed: what cannot be used is named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.analysis.stats import ALPHA, DECIMALS, Interval, holm, levels, standard_deviation
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")

GroupVerdict = Literal["better", "worse", "undecided", "too few runs", "no spread"]


@dataclass(frozen=True)
class AnyRun:
    """A run as it was found. `name` is what a reader finds it by, `block` what pairs it with runs of other groups.

    `group` and `block` are empty and `value` is None where the run has none. `ended` is empty, or says why the run
    did not end as it should.
    """

    name: str
    group: str
    block: str
    value: float | None
    ended: str = ""


@dataclass(frozen=True)
class GroupRow:
    """A group: its runs, and its difference to the baseline's mean; None where there is none, as for the baseline.

    `pairs` counts the blocks that both have; None where runs are not paired. `interval` leaves out zero exactly where
    `p_holm` is below ALPHA.
    """

    group: str
    n: int
    mean: float
    sd: float | None
    pairs: int | None = None
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: GroupVerdict | None = None


@dataclass(frozen=True)
class GroupComparison:
    """All groups, the baseline first, and a sentence for each run or pair that is not used."""

    rows: tuple[GroupRow, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Difference:
    """test: a result of scipy's t tests; None where `without` says why there is none."""

    mean: float
    pairs: int | None
    test: Any
    without: GroupVerdict | None


def compare_groups(
    runs: Sequence[AnyRun], baseline: str, *, paired: bool, higher_is_better: bool = True
) -> GroupComparison:
    """Compare each group with the baseline: block by block where paired (t test), else by Welch's test; Holm for all.

    Raises ValueError if no usable run is of the baseline.
    """
    groups, left_out = _usable(runs, paired=paired)
    if baseline not in groups:
        why = f" Not used: {'; '.join(left_out[:3])}." if left_out else ""
        raise ValueError(f"no usable run is of it; there are such of {', '.join(groups) or 'no group'}.{why}")
    reference = groups.pop(baseline)
    found: dict[str, _Difference | None] = {}
    for name, members in groups.items():
        if paired:
            left_out += _unpaired(name, members, baseline, reference)
            left_out += _unpaired(baseline, reference, name, members)
        found[name] = _paired(members, reference) if paired else _welch(members, reference)
    p_values = {name: float(each.test.pvalue) if each and each.test else None for name, each in found.items()}
    adjusted, alphas = holm(p_values), dict(zip(p_values, levels(list(p_values.values())), strict=True))
    rows = [_row(baseline, reference)]
    for name, members in groups.items():
        row, each, p_holm = _row(name, members), found[name], adjusted[name]
        if each is None:
            rows.append(replace(row, pairs=0, verdict="too few runs"))
            continue
        interval, verdict = None, each.without
        if each.test and p_holm is not None:
            low, high = each.test.confidence_interval(1 - alphas[name])
            interval = float(low), float(high)
            up = (each.mean > 0) == higher_is_better
            verdict = ("better" if up else "worse") if p_holm < ALPHA else "undecided"
        rows.append(
            replace(
                row, pairs=each.pairs, difference=each.mean, interval=interval, p=p_values[name], p_holm=p_holm,
                verdict=verdict,
            )
        )  # fmt: skip
    return GroupComparison(tuple(rows), tuple(left_out))


def _usable(runs: Sequence[AnyRun], *, paired: bool) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return the values by group and block (the run's place where they are not paired), and what is left out."""
    groups: dict[str, dict[str, float]] = {}
    names: dict[tuple[str, str], str] = {}
    left_out = []
    for number, run in enumerate(runs):
        reason = _fault(run, paired=paired)
        if reason:
            left_out.append(f"{run.name}: {reason}")
            continue
        block = run.block if paired else str(number)
        if earlier := names.get((run.group, block)):
            left_out.append(f"{earlier}: {run.name} is of the same group and block, and comes later")
        names[run.group, block] = run.name
        assert run.value is not None
        groups.setdefault(run.group, {})[block] = run.value
    return groups, left_out


def _fault(run: AnyRun, *, paired: bool) -> str:
    if run.ended:
        return run.ended
    if not run.group:
        return "it is of no group"
    if run.value is None:
        return "it has no such metric"
    if not math.isfinite(run.value):
        return f"its metric is {run.value}"
    return "it is of no block" if paired and not run.block else ""


def _unpaired(name: str, members: dict[str, float], other: str, others: dict[str, float]) -> list[str]:
    return [f"{name}, block {block}: no such run of {other}" for block in members if block not in others]


def _paired(members: dict[str, float], reference: dict[str, float]) -> _Difference | None:
    """The paired t test; None without a common block."""
    common = [block for block in members if block in reference]
    if not common:
        return None
    apart = np.array([members[block] - reference[block] for block in common]).round(DECIMALS)
    without = _without(apart)
    test = None if without else stats.ttest_1samp(apart, 0)
    return _Difference(float(np.mean(apart)), len(common), test, without)


def _welch(members: dict[str, float], reference: dict[str, float]) -> _Difference:
    ours, theirs = np.array(list(members.values())), np.array(list(reference.values()))
    # One group may have no spread, if the other has.
    without = _without(ours) and _without(theirs) if min(len(ours), len(theirs)) > 1 else "too few runs"
    test = None if without else stats.ttest_ind(ours, theirs, equal_var=False)
    return _Difference(float(np.mean(ours) - np.mean(theirs)), None, test, without)


def _without(values: np.ndarray) -> GroupVerdict | None:
    """Why there is no t test of some values, None if there is one."""
    if len(values) < 2:
        return "too few runs"
    return None if standard_deviation(values) else "no spread"


def _row(group: str, members: dict[str, float]) -> GroupRow:
    values = np.array(list(members.values()))
    sd = standard_deviation(values) if len(values) > 1 else None
    return GroupRow(group, len(values), float(values.mean()), sd)
