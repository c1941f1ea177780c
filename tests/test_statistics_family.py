"""Verdicts of a family: Holm, the four words, and when there are too few seeds for any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import Compared, compare_family, fewest_seeds
from harness.analysis.stats import holm

pytest_plugins = "statistics_fixtures"
pytestmark = pytest.mark.usefixtures("uncollected")

SPREAD = np.linspace(-0.002, 0.002, 10)
BASELINE = 0.86 + np.array([3, -1, 2, -4, 0, 1, -3, 4, -2, 0]) / 1000
FAMILY = {
    "better": (BASELINE + 0.01 + SPREAD, BASELINE),
    "worse": (BASELINE - 0.01 + SPREAD, BASELINE),
    "equivalent": (BASELINE + 0.0002 + SPREAD, BASELINE),
    "inconclusive": (BASELINE + 0.001 + 10 * SPREAD, BASELINE),
}


def words(family: dict[str, Compared]) -> list[str]:
    return [each.verdict for each in family.values()]


def test_the_four_verdicts() -> None:
    got = compare_family(FAMILY)
    assert words(got) == list(FAMILY)
    assert all(each.enough for each in got.values())
    # 2 of 1024 sign patterns, twice the smallest of four.
    assert got["better"].p == 2 / 1024
    assert got["better"].p_holm == pytest.approx(8 / 1024)


def test_where_less_is_better() -> None:
    got = compare_family(FAMILY, lower_is_better=True)
    assert words(got) == ["worse", "better", "equivalent", "inconclusive"]
    assert got["better"].probability_of_improvement == pytest.approx(
        1 - compare_family(FAMILY)["better"].probability_of_improvement
    )


def test_the_margin_is_in_the_unit_of_the_values() -> None:
    percent = {name: (100 * variant, 100 * baseline) for name, (variant, baseline) in FAMILY.items()}
    assert compare_family(percent)["equivalent"].verdict == "inconclusive"
    assert words(compare_family(percent, margin=0.5)) == list(FAMILY)


def test_the_fewest_seeds() -> None:
    # 2 / 2**6 = 0.031; four times 2 / 2**8 = 0.031; seven times 2 / 2**9 = 0.027.
    assert [fewest_seeds(size) for size in (1, 4, 7)] == [6, 8, 9]
    # "Five seeds can never give a p below 0.0625."
    assert fewest_seeds(1, 0.0625) == 6
    assert fewest_seeds(1, 0.0626) == 5
    # Of one seed there is no spread; with two, p is at least 0.5.
    assert [fewest_seeds(1, alpha) for alpha in (0.51, 0.5)] == [2, 3]
    # 102 / 2**11 = 0.0498 and 103 / 2**11 = 0.0503, on either side of the default.
    assert [fewest_seeds(size) for size in (102, 103)] == [12, 13]


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_one_seed_less_than_the_fewest_is_too_few(size: int) -> None:
    rng = np.random.default_rng(size)

    def family(seeds: int) -> dict[str, Compared]:
        baseline = rng.normal(0.8, 0.001, seeds)
        return compare_family({str(i): (baseline + 0.05 + i / 1000, baseline) for i in range(size)})

    assert {(each.verdict, each.enough) for each in family(fewest_seeds(size)).values()} == {("better", True)}
    short = family(fewest_seeds(size) - 1).values()
    assert {(each.verdict, each.enough) for each in short} == {("inconclusive", False)}
    assert min(each.p_holm for each in short) >= 0.05


@pytest.mark.parametrize(("size", "enough"), [(102, True), (103, False)])
def test_the_default_alpha_of_a_family(size: int, enough: bool) -> None:
    # As in test_the_fewest_seeds: 12 are enough for 102 comparisons, and not for one more.
    twelve = (np.arange(12) / 1000, np.zeros(12))
    once = {str(i): ([0.9], [0.8]) for i in range(size - 1)}
    assert compare_family({"twelve": twelve} | once)["twelve"].enough is enough


def test_the_default_margin_of_a_family() -> None:
    within, at_it = np.full(10, 0.004999), np.full(10, 0.005)
    got = compare_family({"within": (within, np.zeros(10)), "at it": (at_it, np.zeros(10))})
    assert words(got) == ["equivalent", "better"]


def test_a_p_of_alpha_is_not_below_it() -> None:
    # Only all plus, and the smallest one alone turned, sum to 26 or more: with their opposites, 4 of 128.
    ahead = {"ahead": (np.array([-1, 2, 3, 4, 5, 6, 7]) / 100, np.zeros(7))}
    assert compare_family(ahead)["ahead"].p_holm == 4 / 128
    assert words(compare_family(ahead, alpha=4 / 128)) == ["inconclusive"]
    assert words(compare_family(ahead, alpha=4 / 128 + 1e-9)) == ["better"]

    # The same for equivalence, at an alpha above the default.
    noisy = {"noisy": FAMILY["inconclusive"]}
    p = compare_family(noisy)["noisy"].equivalence_p_holm
    assert words(compare_family(noisy, alpha=p)) == ["inconclusive"]
    assert words(compare_family(noisy, alpha=p + 1e-9)) == ["equivalent"]


def test_a_family_of_five_seeds_is_enough_for_a_large_alpha() -> None:
    five = {"five": (BASELINE[:5] + 0.01 + SPREAD[:5], BASELINE[:5])}
    assert words(compare_family(five)) == ["inconclusive"]
    assert words(compare_family(five, alpha=0.1)) == ["better"]


def test_too_few_seeds_get_no_verdict_next_to_longer_comparisons() -> None:
    # Four comparisons take 8 seeds. The p of seven, the last in Holm's order, is adjusted by nothing: but had the other
    # three come out less clearly, it could not have been significant.
    family = {str(i): FAMILY["better"] for i in range(3)}
    got = compare_family(family | {"seven": tuple(side[:7] for side in FAMILY["better"])})
    assert got["seven"].p_holm == pytest.approx(2 / 128)
    assert words(got) == ["better"] * 3 + ["inconclusive"]
    assert not got["seven"].enough


def test_too_few_seeds_are_not_equivalent_either() -> None:
    got = compare_family({"same": (BASELINE[:5], BASELINE[:5])})["same"]
    assert got.equivalence_p_holm == 0
    assert (got.verdict, got.enough) == ("inconclusive", False)


def test_one_seed_counts_in_the_family() -> None:
    got = compare_family({"better": FAMILY["better"], "once": ([0.9], [0.8])})
    assert got["better"].p_holm == pytest.approx(2 * 2 / 1024)
    assert got["once"].p_holm is got["once"].equivalence_p_holm is None
    assert (got["once"].verdict, got["once"].enough) == ("inconclusive", False)


def test_nothing_to_compare() -> None:
    assert compare_family({}) == {}


def holm_by_definition(p_values: list[float]) -> list[float]:
    """The smallest level at which the step-down procedure rejects each, as Holm (1979) states it."""
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = max(so_far, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(so_far, 1.0)
    return adjusted


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holm(p_values: list[float | None]) -> None:
    # A p that is unknown is as good as 1 to the others.
    wanted = holm_by_definition([1.0 if p is None else p for p in p_values])
    got = holm(p_values)
    assert [p is None for p in got] == [p is None for p in p_values]
    assert [p for p in got if p is not None] == pytest.approx(
        [w for w, p in zip(wanted, p_values, strict=True) if p is not None]
    )
