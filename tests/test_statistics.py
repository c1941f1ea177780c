"""Verdicts against the targets: right on simulated truth, and silent with too few runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import Design, against_target, fixed


def judged(values: list[float], target: float, **design: bool) -> str:
    return against_target(values, target, fixed(range(len(values)), **design)).verdict


def test_one_run_gets_no_verdict() -> None:
    one = against_target([0.9], 0.86, fixed([0]))
    assert (one.verdict, one.interval, one.p) == ("not enough runs for a verdict", None, None)
    assert judged([0.9, 0.9, 0.9], 0.86) == "not enough runs for a verdict"


@pytest.mark.parametrize(("mean", "verdict"), [(0.87, "exceeds"), (0.86, "undecided"), (0.85, "below")])
def test_clear_cases(mean: float, verdict: str) -> None:
    assert judged((mean + np.array([-0.001, 0.0, 0.001, -0.0005, 0.0005])).tolist(), 0.86) == verdict


@given(st.lists(st.floats(0.5, 1), min_size=2, max_size=20, unique=True), st.floats(0.5, 1))
def test_the_verdict_is_what_the_t_interval_allows(values: list[float], target: float) -> None:
    got = against_target(values, target, fixed(range(len(values))))
    if got.interval is None:
        return
    low, high = got.interval
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert got.interval == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-6)
    assert got.verdict == ("exceeds" if low > target else "below" if high < target else "undecided")
    assert (got.p < 0.05) == (got.verdict != "undecided") or got.p == pytest.approx(0.05, abs=1e-6)


def test_seeds_beside_the_declared_ones_give_an_interval_and_no_p() -> None:
    values = [0.87, 0.871, 0.872]
    added = against_target(values, 0.86, fixed(range(3), exploratory=True))
    early = against_target(values, 0.86, Design(tuple(range(10)), (10,)))
    assert (added.verdict, early.verdict) == ("exploratory", "not enough runs for a verdict")
    assert added.p is early.p is None
    assert added.interval == early.interval
    assert added.interval == pytest.approx(against_target(values, 0.86, fixed(range(3))).interval)


def test_false_verdicts_are_as_rare_as_promised() -> None:
    # 2,000 sets of 5 runs whose true mean is the target.
    rng = np.random.default_rng(0)
    verdicts = [judged(rng.normal(0.86, 0.003, 5).tolist(), 0.86) for _ in range(2000)]
    assert np.mean([verdict != "undecided" for verdict in verdicts]) == pytest.approx(0.05, abs=0.015)
