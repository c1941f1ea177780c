"""A learning rate is chosen by more than one seed, not at the edge of a grid, and only where the choice is clear."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.tuning import FACTORS, MORE_SEEDS, SEEDS, WIDEST, Tried, is_clear, maxima, next_runs, ranked


def tuned(accuracy: Callable[[float, int], float]) -> dict[float, dict[int, float]]:
    """Tune to the end, with an accuracy by factor and seed."""
    tried: dict[float, dict[int, float]] = {}
    for _ in range(100):
        wanted = next_runs(tried)
        if not wanted:
            return tried
        for factor, seed in wanted:
            tried.setdefault(factor, {})[seed] = accuracy(factor, seed)
    raise AssertionError("no end")


def peak(at: float, noise: float = 0.001) -> Callable[[float, int], float]:
    return lambda factor, seed: 0.7 - 0.05 * abs(math.log2(factor / at)) + noise * (seed % 2)


def test_every_rate_is_tried_with_two_seeds_first() -> None:
    assert next_runs({}) == [(factor, seed) for factor in FACTORS for seed in SEEDS]
    assert next_runs({1.0: {1000: 0.5}}) == [(f, s) for f in FACTORS for s in SEEDS if (f, s) != (1.0, 1000)]


def test_a_clear_choice_inside_the_grid_takes_no_more_runs() -> None:
    tried = tuned(peak(0.5))
    assert sorted(tried) == sorted(FACTORS)
    assert all(tuple(values) == SEEDS for values in tried.values())
    assert ranked(tried)[0] == 0.5
    assert is_clear(tried)


@pytest.mark.parametrize(("at", "beyond"), [(1 / 16, 1 / 32), (8.0, 16.0)])
def test_the_grid_is_extended_until_the_best_rate_is_inside(at: float, beyond: float) -> None:
    tried = tuned(peak(at))
    assert ranked(tried)[0] == at
    assert beyond in tried
    assert is_clear(tried)


def test_a_rate_that_is_always_better_further_out_is_not_clear() -> None:
    tried = tuned(peak(2.0**20))
    assert max(tried) == WIDEST
    assert not is_clear(tried)


def test_the_best_two_get_more_seeds_where_they_are_close() -> None:
    noisy = peak(0.5, noise=0.1)
    tried = tuned(noisy)
    more = {factor for factor, values in tried.items() if len(values) == 4}
    assert more == set(ranked(tried)[:2])
    assert set(tried[ranked(tried)[0]]) == {*SEEDS, *MORE_SEEDS}
    assert not is_clear(tried)


def test_of_equal_rates_the_lower_one_is_taken() -> None:
    tried = tuned(lambda factor, seed: 0.7 if factor in (0.5, 1.0) else 0.5)
    assert ranked(tried)[0] == 0.5
    assert not is_clear(tried)


def test_maxima_are_compared_whichever_rates_have_them() -> None:
    one, other = tuned(peak(0.5)), tuned(lambda factor, seed: peak(1.0)(factor, seed) - 0.02)
    found = maxima(one, other)
    assert found.difference == pytest.approx(0.02)
    low, high = found.interval
    assert low < 0.02 < high
    # Two seeds 0.001 apart have a standard deviation of 0.0007, their mean an error of 0.0005, two of them of 0.0007.
    assert high - low == pytest.approx(2 * 1.96 * 0.0005 * math.sqrt(2), rel=0.05)
    assert maxima(one, one).difference == 0


def test_a_choice_among_rates_at_which_a_seed_is_stuck_is_not_clear() -> None:
    # At every rate one seed learns and one stays at chance: which rate is best is chance too.
    half = {0.25: {1000: 0.62, 1001: 0.1}, 0.5: {1000: 0.63, 1001: 0.1}, 1.0: {1000: 0.61, 1001: 0.1},
            2.0: {1000: 0.1, 1001: 0.1}}  # fmt: skip
    assert next_runs(half) == [(factor, seed) for factor in (0.5, 0.25) for seed in MORE_SEEDS]
    assert not is_clear(half)
    assert maxima(half, half).interval is None
    # Not even where the others are known to spread little.
    mixed = {**{factor: {1000: 0.5, 1001: 0.501} for factor in FACTORS}, 0.5: {1000: 0.99, 1001: 0.1}}
    assert ranked(mixed)[0] == 0.5
    assert not is_clear({**mixed, **{factor: {**mixed[factor], 1002: 0.5, 1003: 0.5} for factor in (0.25, 0.5)}})


@given(st.dictionaries(st.sampled_from(FACTORS), st.floats(0, 1), min_size=4), st.integers(0, 100))
def test_tuning_ends_and_judges_its_own_best(means: dict[float, float], seed: int) -> None:
    noise = np.random.default_rng(seed)
    tried: Tried = tuned(lambda factor, _: means.get(factor, 0.1) + 0.01 * noise.random())
    assert next_runs(tried) == []
    averages = {factor: np.mean(list(values.values())) for factor, values in tried.items()}
    assert averages[ranked(tried)[0]] == max(averages.values())
