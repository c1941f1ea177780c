"""A variant against its baseline: by hand, against other implementations, and what must not change anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import MARGIN, Paired, paired
from harness.analysis.stats import one_sample

Runs = tuple[list[float], list[float]]

# Accuracies as a test set of 10,000 images gives them, few enough to have ties within and between the two.
ACCURACIES = st.integers(8500, 8600).map(lambda correct: correct / 10_000)
PAIRS = st.integers(2, 9).flatmap(
    lambda n: st.tuples(st.lists(ACCURACIES, min_size=n, max_size=n), st.lists(ACCURACIES, min_size=n, max_size=n))
)


def test_three_seeds_by_hand() -> None:
    got = paired([0.87, 0.88, 0.86], [0.85, 0.85, 0.85])
    assert (got.n, got.mean, got.sd) == (3, pytest.approx(0.02), pytest.approx(0.01))
    # The 97.5 % quantile of Student's t with 2 degrees of freedom is 4.302653.
    half = 4.302653 * 0.01 / np.sqrt(3)
    assert got.interval == pytest.approx((0.02 - half, 0.02 + half))
    # All three have one sign: 2 of the 8 sign patterns are that extreme.
    assert got.p == 0.25
    assert got.probability_of_improvement == 1
    # Wilson's interval for 3 of 3 wins: from n / (n + z**2) to 1.
    assert got.probability_of_improvement_interval == pytest.approx((3 / (3 + 1.959964**2), 1))


def test_ties_of_accuracies_survive_floating_point() -> None:
    # 3 + 7 - 10 of 10,000 is no difference at all, though not in floats: the most likely of all outcomes.
    assert paired([0.8603, 0.8607, 0.8590], [0.86, 0.86, 0.86]).p == 1
    # |sum| >= 6 in 4 of the 8 sign patterns of 1, 2, 3 with sum 0 or 6: 6, -6; and with -1, 2, 3: 4.
    assert paired([0.8601, 0.8602, 0.8603], [0.86, 0.86, 0.86]).p == 0.25
    assert paired([0.8599, 0.8602, 0.8603], [0.86, 0.86, 0.86]).p == 0.5
    # Times 10**12, these are whole numbers only once they are rounded (and not cut off): 77 + 92 - 169, and a sum of 0.
    assert one_sample([0.0077, 0.0092, -0.0169, 0.0199]).p == 10 / 16
    assert one_sample([0.2603, -0.0619, 0.0076, -0.1045, 0.1978, -0.1521, -0.1558, 0.0086]).p == 1


def test_numbers_a_trillionth_apart_are_one_number() -> None:
    # Both are 1e-12 to twelve decimals: not to thirteen, and to eleven they would be zero.
    got = one_sample([0.6e-12, 1.4e-12])
    assert (got.mean, got.sd) == (1e-12, 0)
    # As floats, three times 0.1 is more than 0.3.
    assert one_sample([0.1, 0.1, 0.1]).mean == 0.1


def test_one_seed_has_a_difference_and_nothing_else() -> None:
    assert paired([0.87], [0.86]) == Paired(1, pytest.approx(0.01), None, None, None, None, None, None)


def test_equal_runs() -> None:
    same = paired([0.86] * 8, [0.86] * 8)
    assert (same.mean, same.sd, same.interval, same.p) == (0, 0, (0, 0), 1)
    assert (same.probability_of_improvement, same.equivalence_p) == (0.5, 0)


@pytest.mark.parametrize(
    ("difference", "equivalence_p"), [(0.0049, 0), (0.004999, 0), (0.005, 1), (-0.005, 1), (0.01, 1)]
)
def test_equal_differences(difference: float, equivalence_p: float) -> None:
    baseline = np.array([0.8512, 0.8533, 0.8547, 0.8561])
    got = paired((baseline + difference).tolist(), baseline.tolist())
    assert got.sd == 0
    assert got.interval == (got.mean, got.mean) == pytest.approx((difference, difference))
    assert got.p == 1 / 8
    assert got.equivalence_p == equivalence_p


@pytest.mark.parametrize(("margin", "equivalence_p"), [(0.5, 1), (0.625, 0)])
def test_equal_differences_and_a_margin_of_ones_own(margin: float, equivalence_p: float) -> None:
    # Floats hold these exactly: a t test would divide zero by zero at the margin.
    assert paired([1.5, 2.5], [1.0, 2.0], margin).equivalence_p == equivalence_p


def test_complete_separation_narrows_with_seeds() -> None:
    baseline = [0.85 + i / 1000 for i in range(10)]
    above, below = (paired([b + difference for b in baseline], baseline) for difference in (0.02, -0.02))
    assert (above.probability_of_improvement, below.probability_of_improvement) == (1, 0)
    assert above.probability_of_improvement_interval == pytest.approx((0.7225, 1), abs=1e-4)
    assert below.probability_of_improvement_interval == pytest.approx((0, 0.2775), abs=1e-4)


def test_p_is_exact_up_to_sixteen_seeds_and_drawn_above() -> None:
    # Two of all sign patterns are as extreme as one sign throughout.
    assert one_sample(np.arange(1, 17)).p == 2 / 2**16
    # Of 2**16 draws and the data themselves, a whole number is as extreme. 2**16 + 1 is a prime, so no other number of
    # draws gives such a p, nor do all 2**17 patterns.
    extreme = one_sample(np.append(np.arange(1, 17), -60)).p * (2**16 + 1)
    assert extreme == pytest.approx(round(extreme), abs=1e-6)


def test_many_seeds_are_drawn_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    variant, baseline = rng.normal(0.002, 0.003, 20).tolist(), rng.normal(0, 0.003, 20).tolist()
    once = paired(variant, baseline)
    assert paired(variant, baseline) == once
    # At n = 20 the t test, which is exact for normal differences, is hard to tell from the sign-flip test.
    assert once.p == pytest.approx(stats.ttest_rel(variant, baseline).pvalue, abs=0.01)


@pytest.mark.parametrize("runs", [([], []), ([0.86, 0.87], [0.86]), ([0.86, np.nan], [0.86, 0.86])])
def test_what_cannot_be_paired_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match=r"paired|finite"):
        paired(*runs)


@given(PAIRS)
@settings(deadline=None)
def test_against_other_implementations(runs: Runs) -> None:
    variant, baseline = np.array(runs)
    got = paired(*runs)
    # In whole images: numbers that floats hold exactly.
    images = np.rint((variant - baseline) * 10_000)
    signs = np.array(np.meshgrid(*[[1, -1]] * len(images))).reshape(len(images), -1)
    assert got.p == pytest.approx((abs(images @ signs) >= abs(images.sum())).mean())
    assert got.probability_of_improvement == pytest.approx(
        np.mean(np.sign(np.subtract.outer(variant, baseline)) / 2 + 0.5)
    )
    if images.std() == 0:
        return
    assert got.interval == pytest.approx(tuple(stats.ttest_rel(variant, baseline).confidence_interval(0.95)))
    one_sided = [
        stats.ttest_1samp(variant - baseline, bound, alternative=side).pvalue
        for bound, side in [(-MARGIN, "greater"), (MARGIN, "less")]
    ]
    assert got.equivalence_p == pytest.approx(max(one_sided), abs=1e-9)


@given(PAIRS)
@settings(deadline=None)
def test_swapping_turns_everything_around(runs: Runs) -> None:
    variant, baseline = runs
    there, back = paired(variant, baseline), paired(baseline, variant)
    assert back.mean == -there.mean
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.p == there.p
    assert back.equivalence_p == pytest.approx(there.equivalence_p)
    assert back.probability_of_improvement == pytest.approx(1 - there.probability_of_improvement)
    low, high = there.probability_of_improvement_interval
    assert low <= there.probability_of_improvement <= high or there.probability_of_improvement in (0, 1)
    assert back.probability_of_improvement_interval == pytest.approx((1 - high, 1 - low))
    # Where less is better, the other one wins; the difference is what it was.
    lower = paired(variant, baseline, lower_is_better=True)
    assert (lower.mean, lower.probability_of_improvement) == (
        there.mean,
        pytest.approx(back.probability_of_improvement),
    )


@given(PAIRS, st.integers(-3000, 1000))
@settings(deadline=None)
def test_easier_data_for_both_changes_nothing(runs: Runs, images: int) -> None:
    here = paired(*runs)
    there = paired(*([(round(a * 10_000) + images) / 10_000 for a in side] for side in runs))
    assert there.p == here.p
    assert there.mean == pytest.approx(here.mean, abs=1e-12)
    assert there.interval == pytest.approx(here.interval, abs=1e-11)
    assert there.probability_of_improvement == here.probability_of_improvement
    assert there.equivalence_p == pytest.approx(here.equivalence_p, abs=1e-9)
