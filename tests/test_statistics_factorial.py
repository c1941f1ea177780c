"""Main effects and interactions of a full two-level design."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import Design, compare_family, effects, fixed
from harness.analysis.stats import holm

THREE, FOUR = fixed(range(3)), fixed(range(4))


def test_two_factors_by_hand() -> None:
    cells = {
        (False, False): [0.80, 0.81, 0.79],
        (True, False): [0.84, 0.86, 0.82],
        (False, True): [0.81, 0.81, 0.81],
        (True, True): [0.83, 0.85, 0.83],
    }
    got = effects(cells, ["scaling", "normalization"], THREE)
    assert list(got) == ["scaling", "normalization", "scaling x normalization"]
    # Seed by seed: (0.04 + 0.02) / 2, (0.05 + 0.04) / 2, (0.03 + 0.02) / 2.
    assert got["scaling"].mean == pytest.approx((0.03 + 0.045 + 0.025) / 3)
    assert got["normalization"].mean == pytest.approx((0.00 - 0.005 + 0.015) / 3)
    # Half of (0.02 - 0.04), (0.04 - 0.05), (0.02 - 0.03).
    joint = got["scaling x normalization"]
    assert (joint.n, joint.mean) == (3, pytest.approx((-0.01 - 0.005 - 0.005) / 3))
    assert joint.sd == pytest.approx(np.std([-0.01, -0.005, -0.005], ddof=1))
    assert joint.p == pytest.approx(stats.ttest_1samp([-0.01, -0.005, -0.005], 0).pvalue)
    assert {name: each.p_holm for name, each in got.items()} == holm({name: each.p for name, each in got.items()})


def test_planted_effects_are_found() -> None:
    planted = {"a": 0.02, "b": -0.01, "c": 0.0, "a x b": 0.006, "a x c": 0.0, "b x c": 0.0, "a x b x c": -0.004}
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 12)  # each seed's own, the same in all cells
    cells = {}
    for cell in product((False, True), repeat=3):
        sign = dict(zip("abc", np.where(cell, 1, -1), strict=True))
        part = sum(size * np.prod([sign[factor] for factor in name.split(" x ")]) for name, size in planted.items())
        cells[cell] = 0.8 + part / 2 + noise + rng.normal(0, 0.001, 12)
    got = effects(cells, "abc", fixed(range(12)))
    # What is equal in all cells of a seed is in no effect.
    assert {name: effect.mean for name, effect in got.items()} == pytest.approx(planted, abs=0.0008)
    assert {name for name, effect in got.items() if effect.p_holm < 0.05} == {n for n, size in planted.items() if size}


VALUES = st.lists(st.integers(7000, 9000).map(lambda correct: correct / 10_000), min_size=4, max_size=4)


@given(VALUES, VALUES)
@settings(deadline=None)
def test_one_factor_is_a_paired_comparison(off: list[float], on: list[float]) -> None:
    effect = effects({(False,): off, (True,): on}, ["on"], FOUR)["on"]
    compared = compare_family(dict(enumerate(off)), {"on": dict(enumerate(on))}, FOUR)["on"]
    assert (effect.n, effect.mean, effect.sd) == (compared.n, compared.mean, compared.sd)
    assert effect.p_holm == effect.p == (compared.p and pytest.approx(compared.p))
    assert effect.interval == (compared.interval and pytest.approx(compared.interval))


@given(st.lists(VALUES, min_size=4, max_size=4))
@settings(deadline=None)
def test_calling_on_off_turns_its_effects_around(runs: list[list[float]]) -> None:
    cells = dict(zip(product((False, True), repeat=2), runs, strict=True))
    there = effects(cells, "ab", FOUR)
    back = effects({(not a, b): values for (a, b), values in cells.items()}, "ab", FOUR)
    for name, sign in [("a", -1), ("b", 1), ("a x b", -1)]:
        assert back[name].mean == pytest.approx(sign * there[name].mean, abs=1e-12)
        if there[name].interval is None:
            assert back[name].interval is None
            continue
        assert back[name].p == pytest.approx(there[name].p)
        assert sorted(np.multiply(sign, back[name].interval)) == pytest.approx(there[name].interval, abs=1e-11)


def test_one_seed_has_effects_without_p() -> None:
    got = effects({(False,): [0.8], (True,): [0.9]}, ["on"], fixed([0]))["on"]
    assert (got.mean, got.p, got.p_holm) == (pytest.approx(0.1), None, None)


def test_between_looks_effects_have_no_p() -> None:
    looks = Design(tuple(range(10)), (4, 7, 10))
    five = effects({(False,): [0.8, 0.81, 0.8, 0.79, 0.8], (True,): [0.9] * 5}, ["on"], looks)["on"]
    assert (five.p, five.p_holm) == (None, None)
    assert five.interval is not None


@pytest.mark.parametrize(
    "cells",
    [
        {(False,): [0.8]},
        {(False,): [0.8], (True,): [0.8, 0.9]},
        {(False, False): [0.8], (True, True): [0.9]},
        {(False,): [], (True,): []},
    ],
)
def test_half_a_design_is_refused(cells: dict[tuple[bool, ...], list[float]]) -> None:
    with pytest.raises(ValueError, match="Needs"):
        effects(cells, ["on"], FOUR)
