"""A family of variants: by hand, against other implementations, and when each comparison is decided."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import multitest

from harness.analysis import Compared, Design, compare_family, fixed
from harness.analysis.stats import holm, one_sample

LOOKS = Design(tuple(range(10)), (4, 7, 10))
BASELINE = (0.86 + np.array([3, -1, 2, -4, 0, 1, -3, 4, -2, 0]) / 1000).tolist()
SPREAD = np.array([1, -2, 0, 2, -1, 2, -2, 1, 0, -1]) / 1000


def apart(difference: float, spread: float = 1.0, seeds: int = 10) -> list[float]:
    return (np.array(BASELINE) + difference + spread * SPREAD)[:seeds].tolist()


def compared(
    variants: Mapping[str, Sequence[float]],
    baseline: Sequence[float] = tuple(BASELINE),
    design: Design | None = None,
    claims: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Compared]:
    family = {name: dict(enumerate(values)) for name, values in variants.items()}
    return compare_family(dict(enumerate(baseline)), family, design or fixed(range(len(baseline))), claims)


def test_one_variant_is_the_paired_t_test() -> None:
    variant = apart(0.01)
    got = compared({"v": variant})["v"]
    test = stats.ttest_rel(variant, BASELINE)
    assert got.p == got.p_holm == pytest.approx(test.pvalue, rel=1e-6)
    assert got.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (got.n, got.confidence, got.verdict) == (10, pytest.approx(0.95), "better")


def test_the_spread_is_pooled_over_variants_and_seeds() -> None:
    # The residual of a table of variants and seeds, by hand: 0.1 in each of the nine cells, as the rows' and the
    # columns' means leave it; 2 * 2 degrees of freedom.
    latin = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / 10
    level = np.array([[0.5, 0.6, 0.7]]).T
    base, v, w = (level + latin).tolist()
    got = compared({"v": v, "w": w}, base)["w"]
    mean_square = (latin**2).sum() / 4
    error = np.sqrt(2 * mean_square / 3)
    assert got.p == pytest.approx(2 * stats.t.sf(0.2 / error, 4), rel=1e-6)


def test_a_noisy_variant_is_judged_by_its_own_spread() -> None:
    quiet = {name: apart(0.01 * i, 0.1) for i, name in enumerate("abc", start=1)}
    got = compared(quiet | {"noisy": apart(0.003, 10)})["noisy"]
    assert got.interval[1] - got.interval[0] > 2 * 2 * got.sd / np.sqrt(10)
    assert got.verdict == "undecided"


def test_the_verdicts() -> None:
    family = {"better": apart(0.02), "worse": apart(-0.02), "equivalent": apart(0.0002), "undecided": apart(0.003, 3)}
    got = compared(family)
    assert {name: each.verdict for name, each in got.items()} == {name: name for name in family}
    assert [each.goes_on for each in got.values()] == [False] * 4


FAMILIES = st.lists(
    st.lists(st.integers(-300, 300).map(lambda images: 0.6 + images / 10_000), min_size=10, max_size=10),
    min_size=2, max_size=5,
)  # fmt: skip


@given(FAMILIES)
@settings(deadline=None, max_examples=50)
def test_verdict_interval_and_p_never_disagree(runs: list[list[float]]) -> None:
    for design in (LOOKS, fixed(range(10))):
        for each in compared({str(i): values for i, values in enumerate(runs[1:])}, runs[0], design).values():
            if each.interval is None:
                assert each.verdict == "undecided"
                continue
            low, high = each.interval
            assert (each.p_holm < 0.05) == (low > 0 or high < 0) or each.p_holm == pytest.approx(0.05, abs=1e-6)
            assert 0.95 - 1e-9 <= each.confidence <= 1 - 0.05 / (len(runs) - 1) + 1e-9
            equivalent = low > -0.005 and high < 0.005
            there = "better" if low > 0 else "worse" if high < 0 else "undecided"
            assert each.verdict == ("equivalent" if equivalent else there)


@given(FAMILIES)
@settings(deadline=None, max_examples=50)
def test_swapping_two_runs_turns_everything_around(runs: list[list[float]]) -> None:
    there, back = compared({"v": runs[0]}, runs[1])["v"], compared({"v": runs[1]}, runs[0])["v"]
    assert back.mean == -there.mean
    assert back.p == pytest.approx(there.p)
    assert back.verdict == {"better": "worse", "worse": "better"}.get(there.verdict, there.verdict)
    assert back.probability_of_improvement == pytest.approx(1 - there.probability_of_improvement)


def test_a_comparison_stops_at_the_look_that_decides_it() -> None:
    family = {"far": apart(-0.1), "near": apart(0.002, 5)}
    first = compared({name: values[:4] for name, values in family.items()}, BASELINE[:4], LOOKS)
    assert {name: (each.n, each.goes_on) for name, each in first.items()} == {
        "far": (4, False), "near": (4, True),
    }  # fmt: skip
    whole = compared(family, BASELINE, LOOKS)
    # What is decided keeps its numbers, whichever seeds are there besides.
    assert (whole["far"].n, whole["near"].n) == (4, 10)
    assert whole["far"].interval == first["far"].interval
    stopped = compared(family | {"far": family["far"][:4]}, BASELINE, LOOKS)
    assert stopped == whole


def test_between_two_looks_nothing_changes() -> None:
    near = apart(0.002, 5)
    at_four, at_six = (compared({"v": near[:n]}, BASELINE[:n], LOOKS)["v"] for n in (4, 6))
    assert at_six == at_four
    assert compared({"v": near[:7]}, BASELINE[:7], LOOKS)["v"].n == 7


def test_too_few_seeds_for_the_first_look() -> None:
    got = compared({"v": apart(-0.1, seeds=3)}, BASELINE[:3], LOOKS)["v"]
    assert (got.verdict, got.p, got.p_holm, got.goes_on) == ("too few seeds", None, None, True)
    assert got.interval is not None
    once = compared({"v": [0.9]}, [0.8], LOOKS)["v"]
    assert (once.mean, once.sd, once.interval) == (pytest.approx(0.1), None, None)


def test_a_look_waits_for_all_that_is_undecided() -> None:
    got = compared({"far": apart(-0.1), "late": apart(0.0, seeds=2)}, BASELINE, LOOKS)
    assert {each.verdict for each in got.values()} == {"too few seeds"}
    # One without any run is part of the family too.
    assert {each.verdict for each in compared({"far": apart(-0.1), "none": []}).values()} == {"too few seeds"}


def test_a_prediction_that_is_open_keeps_its_variant_going() -> None:
    far = {"v": apart(-0.055, 3)}
    assert compared(far, BASELINE, LOOKS)["v"].n == 4
    assert compared(far, BASELINE, LOOKS, {"v": [-0.05]})["v"].n > 4
    assert compared(far, BASELINE, LOOKS, {"v": [-0.5]})["v"].n == 4


def test_seeds_outside_the_design_do_not_count() -> None:
    design = Design((0, 4, 7), (3,))
    got = compared({"v": apart(-0.1)}, BASELINE, design)["v"]
    assert got.n == 3
    picked = [0, 4, 7]
    assert got == compared({"v": [apart(-0.1)[s] for s in picked]}, [BASELINE[s] for s in picked])["v"]


def test_exploratory_seeds_get_neither_p_nor_verdict() -> None:
    got = compared({"v": apart(-0.1)}, BASELINE, fixed(range(10), exploratory=True))["v"]
    assert (got.verdict, got.p, got.p_holm, got.goes_on) == ("exploratory", None, None, False)
    assert got.interval == pytest.approx(compared({"v": apart(-0.1)})["v"].interval)


def test_stuck_runs_are_counted_outside_the_pool() -> None:
    alone = compared({"v": apart(0.003)}, BASELINE, LOOKS)["v"]
    got = compared({"v": apart(0.003), "stuck": [0.1] * 10}, BASELINE, LOOKS)
    # They would have made the pool narrower by their lack of a spread.
    assert got["v"].sd == alone.sd
    assert got["v"].p == pytest.approx(alone.p)
    assert (got["stuck"].failed, got["stuck"].n, got["stuck"].verdict) == (4, 4, "worse")
    # One of ten: its mean is pulled far down, and its spread says so.
    once = compared({"v": [0.1, *apart(0.003)[1:]]})["v"]
    assert (once.failed, once.verdict) == (1, "undecided")


def test_runs_that_are_all_at_chance_are_not_called_equivalent() -> None:
    got = compared({"v": [0.1] * 10}, [0.1] * 10)["v"]
    assert (got.interval, got.p, got.verdict, got.failed) == (None, None, "undecided", 10)


def test_p_of_improvement_by_hand() -> None:
    above = compared({"v": [0.87, 0.88, 0.86]}, [0.85, 0.85, 0.855])["v"]
    assert above.probability_of_improvement == 1
    # Wilson's interval for 3 of 3 wins: from n / (n + z**2) to 1.
    assert above.probability_of_improvement_interval == pytest.approx((3 / (3 + 1.959964**2), 1))
    tied = compared({"v": [0.86, 0.87]}, [0.86, 0.85])["v"]
    assert tied.probability_of_improvement == 3.5 / 4


def test_numbers_a_trillionth_apart_are_one_number() -> None:
    # As floats, three times 0.1 is more than 0.3.
    got = one_sample([0.1, 0.1, 0.3 - 0.2], fixed(range(3)))
    assert (got.mean, got.sd, got.p) == (0.1, 0, None)


@pytest.mark.parametrize("values", [[], [0.86, np.nan]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        one_sample(values, LOOKS)


def test_nothing_to_compare() -> None:
    assert compared({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    got = holm({str(i): p for i, p in enumerate(p_values)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda *_: 0)
        assert list(got.values()) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


def test_holm_takes_an_unknown_p_for_one() -> None:
    assert holm({"a": 0.01, "b": None}) == {"a": 0.02, "b": None}
