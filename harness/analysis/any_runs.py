"""Groups of runs of any kind against a baseline group: one number a run, whoever trained it.

Nothing is known of the scale of that number, so there is no margin below which a difference counts as none, and no
level below which a run counts as failed: what cannot be used is named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.design import fixed
from harness.analysis.stats import ALPHA, Interval, holm, levels, one_sample, standard_deviation
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
    mean: float
    error: float
    freedom: float
    pairs: int | None


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
    p_values = {name: _p(each) for name, each in found.items()}
    adjusted, alphas = holm(p_values), dict(zip(p_values, levels(list(p_values.values())), strict=True))
    rows = [_row(baseline, reference)]
    for name, members in groups.items():
        each, p, p_holm = found[name], p_values[name], adjusted[name]
        interval, verdict = None, _without(each)
        if each and p is not None and p_holm is not None:
            half = each.error * float(stats.t.isf(alphas[name] / 2, each.freedom))
            interval = each.mean - half, each.mean + half
            up = (each.mean > 0) == higher_is_better
            verdict = ("better" if up else "worse") if p_holm < ALPHA else "undecided"
        shown = (each.pairs, each.mean) if each else (0 if paired else None, None)
        rows.append(_row(name, members, *shown, interval, p, p_holm, verdict))
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
    common = [block for block in members if block in reference]
    if not common:
        return None
    each = one_sample([members[block] - reference[block] for block in common], fixed(range(len(common))))
    error = (each.sd or 0.0) / math.sqrt(each.n)
    return _Difference(each.mean, error, each.n - 1, each.n)


def _welch(members: dict[str, float], reference: dict[str, float]) -> _Difference:
    sides = [np.array(list(side.values())) for side in (members, reference)]
    mean = float(sides[0].mean() - sides[1].mean())
    if min(map(len, sides)) < 2:
        return _Difference(mean, 0.0, 0, None)
    spread = [standard_deviation(side) ** 2 / len(side) for side in sides]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(spread, sides, strict=True))
    return _Difference(mean, math.sqrt(sum(spread)), sum(spread) ** 2 / below if below else 1, None)


def _p(each: _Difference | None) -> float | None:
    return float(2 * stats.t.sf(abs(each.mean) / each.error, each.freedom)) if each and each.error else None


def _without(each: _Difference | None) -> GroupVerdict:
    """Why there is no p."""
    return "too few runs" if each is None or each.freedom < 1 else "no spread"


def _row(group: str, members: dict[str, float], *rest: object) -> GroupRow:
    values = np.array(list(members.values()))
    sd = standard_deviation(values) if len(values) > 1 else None
    return GroupRow(group, len(values), float(values.mean()), sd, *rest)  # type: ignore[arg-type]
