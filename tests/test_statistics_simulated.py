"""Thousands of experiments whose truth is known: how often the statistics are wrong about it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.analysis import Compared, Paired, compare_family, paired

pytest_plugins = "statistics_fixtures"

SEEDS = 10
SIGNS = np.where(np.arange(2**SEEDS)[:, None] >> np.arange(SEEDS) & 1, 1.0, -1.0)


def sign_flip(data: tuple[np.ndarray], *_: Any, **__: Any) -> SimpleNamespace:
    """scipy's exact sign-flip test in a twentieth of the time: all sign patterns at once, made once."""
    (sample,) = data
    return SimpleNamespace(pvalue=(abs(SIGNS @ sample) >= abs(sample.sum())).mean())


@pytest.fixture(scope="module")
def quick(uncollected: None) -> Iterator[None]:
    """To the same numbers: with scipy's own, this file would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "permutation_test", sign_flip)
        yield


def runs(rng: np.random.Generator, mean: float, scale: float = 0.003) -> np.ndarray:
    """Accuracies on 10,000 images."""
    return rng.normal(mean, scale, SEEDS).round(4)


def test_the_stand_in_is_scipys_test(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    drawn = [(runs(rng, 0.861), runs(rng, 0.86)) for _ in range(50)]
    exact = [paired(*pair) for pair in drawn]
    monkeypatch.setattr(stats, "permutation_test", sign_flip)
    assert [paired(*pair) for pair in drawn] == exact


@pytest.fixture(scope="module")
def equal_families(quick: None) -> list[dict[str, Compared]]:
    """2,000 families of four variants that are all as good as the baseline they share."""
    rng = np.random.default_rng(0)

    def family() -> dict[str, Compared]:
        baseline = runs(rng, 0.86)
        return compare_family({name: (runs(rng, 0.86), baseline) for name in "abcd"})

    return [family() for _ in range(2000)]


@pytest.fixture(scope="module")
def at_the_margin(quick: None) -> list[Paired]:
    """2,000 comparisons whose true difference is half a point, up in the even ones and down in the odd ones."""
    rng = np.random.default_rng(2)
    return [paired(runs(rng, 0.86 + sign * 0.005), runs(rng, 0.86)) for sign in [1, -1] * 1000]


def test_a_family_seldom_names_a_difference_that_is_not_there(equal_families: list[dict[str, Compared]]) -> None:
    wrong = [any(each.verdict in ("better", "worse") for each in family.values()) for family in equal_families]
    # Less than 0.05 is right too: exact p values come in steps, and variants that share a baseline err together.
    assert np.mean(wrong) <= 0.05 + 0.015
    # But a test that never errs under no effect would not find one either.
    assert np.mean(wrong) > 0.02


def test_a_single_comparison_is_wrong_as_often_as_it_says(equal_families: list[dict[str, Compared]]) -> None:
    p_values = [each.p for family in equal_families for each in family.values()]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.015)


def test_intervals_cover(equal_families: list[dict[str, Compared]], at_the_margin: list[Paired]) -> None:
    drawn = [(each, 0.0) for family in equal_families for each in family.values()]
    drawn_apart = list(zip(at_the_margin, [0.005, -0.005] * 1000, strict=True))
    for comparisons in (drawn, drawn_apart):
        inside = [each.interval[0] <= truth <= each.interval[1] for each, truth in comparisons]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_intervals_of_superiority_cover(equal_families: list[dict[str, Compared]], at_the_margin: list[Paired]) -> None:
    equal = [each for family in equal_families for each in family.values()]
    beats = stats.norm.cdf(0.005 / (0.003 * np.sqrt(2)))
    for comparisons, truth in [(equal, 0.5), (at_the_margin[::2], beats), (at_the_margin[1::2], 1 - beats)]:
        inside = [
            low <= truth <= high for low, high in (each.probability_of_improvement_interval for each in comparisons)
        ]
        assert np.mean(inside) >= 0.95


def test_half_a_point_is_seldom_called_equivalent(at_the_margin: list[Paired]) -> None:
    assert np.mean([each.equivalence_p < 0.05 for each in at_the_margin]) <= 0.05 + 0.015


def test_no_difference_is_mostly_called_equivalent(equal_families: list[dict[str, Compared]]) -> None:
    verdicts = [each.verdict for family in equal_families for each in family.values()]
    assert np.mean([verdict == "equivalent" for verdict in verdicts]) > 0.75
