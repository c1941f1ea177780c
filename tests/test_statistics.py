"""Verdicts against the targets: right on simulated truth, and silent with too few runs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import TARGET_ALPHA, AgainstTarget, against_target


def test_one_run_gets_no_verdict() -> None:
    one = against_target([0.9], 0.86)
    assert one.verdict == "not enough runs for a verdict"
    assert one.interval is None
    assert against_target([0.9, 0.9, 0.9], 0.86).verdict == "not enough runs for a verdict"


@pytest.mark.parametrize(("mean", "verdict"), [(0.87, "exceeds"), (0.86, "consistent"), (0.85, "below")])
def test_clear_cases(mean: float, verdict: str) -> None:
    values = mean + np.array([-0.001, 0.0, 0.001, -0.0005, 0.0005])
    assert against_target(values, 0.86).verdict == verdict
    # For a cross-entropy, less is better: the same distances the other way round.
    assert against_target(2 * 0.86 - values, 0.86, lower_is_better=True).verdict == verdict


def test_two_runs_by_hand() -> None:
    # With one degree of freedom p is arctan(1 / t) / pi. The target is one standard error below the mean: t = 1.
    half = 12.7062047 * 0.5
    wanted = AgainstTarget(2, 1.5, pytest.approx(0.5**0.5), pytest.approx((1.5 - half, 1.5 + half)), 0, "consistent")
    for target, lower_is_better in ((1.0, False), (1.0, True), (2.0, False), (2.0, True)):
        got = against_target([1.0, 2.0], target, lower_is_better=lower_is_better)
        assert dataclasses.replace(got, p=0) == wanted
        assert got.p == pytest.approx(0.25)


@pytest.mark.parametrize(("t", "p", "verdict"), [(25, 0.01273, "consistent"), (33, 0.00964, "exceeds")])
def test_a_verdict_takes_a_p_below_a_hundredth(t: float, p: float, verdict: str) -> None:
    got = against_target([t - 1, t + 1], 0)
    assert (got.p, got.verdict) == (pytest.approx(p, abs=1e-5), verdict)
    assert against_target([-t - 1, -t + 1], 0).verdict == {"exceeds": "below"}.get(verdict, verdict)


@given(st.lists(st.floats(0.5, 1), min_size=2, max_size=20, unique=True))
def test_interval_is_the_t_interval(values: list[float]) -> None:
    got = against_target(values, 0.86)
    if got.interval is None:
        return
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert got.interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))


def test_false_verdicts_are_as_rare_as_promised() -> None:
    # 4,000 sets of 5 runs whose true mean is the target: 2 * alpha of them may get a verdict other than consistent.
    rng = np.random.default_rng(0)
    verdicts = [against_target(rng.normal(0.86, 0.003, 5), 0.86).verdict for _ in range(4000)]
    rate = np.mean([verdict != "consistent" for verdict in verdicts])
    assert rate == pytest.approx(2 * TARGET_ALPHA, abs=0.007)
