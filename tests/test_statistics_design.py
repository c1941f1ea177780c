"""Looks that were declared: the boundaries of O'Brien and Fleming, and p values and intervals that go together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import Design, fixed

LOOKS = (4, 7, 10)
DESIGN = Design(tuple(range(10)), LOOKS)
#: Where t and normal distributions are the same.
MANY = 10**7


def test_the_boundaries_are_those_of_obrien_and_fleming() -> None:
    # Jennison & Turnbull (2000), table 2.3: C_B(5, 0.05) = 2.040, C_B(2, 0.05) = 1.977, C_B(10, 0.05) = 2.087
    for looks, alpha, constant in [(5, 0.05, 2.040), (2, 0.05, 1.977), (10, 0.05, 2.087)]:
        design = Design(tuple(range(100)), tuple(range(100 // looks, 101, 100 // looks)))
        assert design.quantile(alpha, MANY, 100) == pytest.approx(constant, abs=6e-4)
        assert design.quantile(alpha, MANY, 100 // looks) == pytest.approx(constant * looks**0.5, abs=2e-3)


def test_the_three_looks_of_the_ablations() -> None:
    bounds = [DESIGN.quantile(0.05, MANY, look) for look in LOOKS]
    assert bounds == pytest.approx([3.180, 2.404, 2.011], abs=1e-3)


def test_brownian_motion_is_outside_as_often_as_p_says() -> None:
    paths = np.random.default_rng(0).normal(size=(200_000, 10)).cumsum(1) / np.sqrt(10)
    ever = abs(paths[:, [3, 6, 9]]).max(1)
    for z in (1.5, 2.0, 2.5):
        assert DESIGN.p(z, MANY, 10) == pytest.approx((ever >= z).mean(), abs=2e-3)


@given(st.sampled_from(LOOKS), st.floats(0.0005, 0.5), st.integers(1, 60))
@settings(deadline=None)
def test_the_quantile_is_where_p_is_alpha(look: int, alpha: float, freedom: int) -> None:
    assert DESIGN.p(DESIGN.quantile(alpha, freedom, look), freedom, look) == pytest.approx(alpha, rel=1e-3)


@given(st.floats(0.01, 30), st.integers(1, 60), st.integers(2, 50))
@settings(deadline=None)
def test_a_single_look_is_the_t_test(t: float, freedom: int, seeds: int) -> None:
    design = fixed(range(seeds))
    p = 2 * stats.t.sf(t, freedom)
    assert design.p(t, freedom, seeds) == design.p(-t, freedom, seeds) == pytest.approx(p, rel=1e-6, abs=1e-11)
    assert design.quantile(0.05, freedom, seeds) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_p_falls_with_t_to_the_end() -> None:
    p = [DESIGN.p(t, MANY, 10) for t in (0, 1, 3, 6.9, 7.1, 20, 60)]
    assert p[0] == 1
    assert p == sorted(p, reverse=True)
    assert 0 <= p[-1] < 1e-12
    # An early look asks for more.
    assert DESIGN.p(3, 9, 4) > DESIGN.p(3, 9, 7) > DESIGN.p(3, 9, 10)
