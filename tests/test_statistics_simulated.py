"""Thousands of experiments whose truth is known: how often the statistics are wrong about it."""

import numpy as np
import pytest

from harness.analysis import Design, effects
from harness.analysis.design import fixed
from harness.analysis.power import detect, normal_runs, rates, resampled, seeds_for
from harness.analysis.stats import compare_family, one_sample
from harness.experiment import LOOKS

DESIGN = Design(tuple(range(10)), LOOKS)


def null(simulated: int, *sds: float, design: Design = DESIGN) -> float:
    """The share of families without any difference in which one is called. sds: of the baseline and each variant."""
    even = normal_runs(0, 1, [0] * (len(sds) - 1), len(design.seeds))
    return rates(lambda rng: 0.8 + 0.01 * np.array(sds)[:, None] * even(rng), design, simulated).families


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("simulated", [250, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_family_seldom_names_a_difference_that_is_not_there(simulated: int) -> None:
    error = 2.6 * (0.04 * 0.96 / simulated) ** 0.5
    assert 0.02 - error <= null(simulated, 1, 1, 1, 1, 1) <= 0.04 + error
    # Pooling alone: 9 % where one variant is noisier; with the pool's degrees of freedom for all, 6 % and 8 % in these.
    assert null(simulated, 1, 1, 1, 1, 3) <= 0.045 + error
    assert null(simulated, 5, 1, 1, 1, 1) <= 0.045 + error
    assert null(simulated // 5, *[1] * 14, *[10] * 4) <= 0.055 + 2.3 * error


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("simulated", [250, pytest.param(5_000, marks=pytest.mark.slow)])
def test_one_look_of_five_seeds_is_wrong_too_often_where_the_baseline_is_noisy(simulated: int) -> None:
    error, five = 2.6 * (0.06 * 0.94 / simulated) ** 0.5, fixed(range(5))
    for variants in (4, 7):
        assert null(simulated, *[1] * (1 + variants), design=five) <= 0.035 + error
        assert null(simulated, *[1] * variants, 3, design=five) <= 0.04 + error
        assert null(simulated, 3, *[1] * variants, design=five) == pytest.approx(0.075, abs=0.01 + error)
    assert null(simulated, 2, *[1] * 7, design=five) == pytest.approx(0.065, abs=0.01 + error)


@pytest.mark.parametrize("simulated", [250, pytest.param(4_000, marks=pytest.mark.slow)])
def test_the_intervals_of_a_family_hold_together_a_little_less_often_than_each(simulated: int) -> None:
    """Holm's levels are for what is rejected: where all differences are large, only one interval is widened for all."""
    error = 2.6 * (0.06 * 0.94 / simulated) ** 0.5
    large = tuple(0.02 * step for step in (-3, -2, -1, 0, 1, 2, 3))
    for truths, seeds, share in ((large, 5, 0.935), (large, 10, 0.925), ((0.0,) * 7, 5, 0.97)):
        rng, together = np.random.default_rng(3), 0
        draw = normal_runs(0.8, 0.01, list(truths), seeds)
        for _ in range(simulated):
            baseline, *variants = (dict(enumerate(runs)) for runs in draw(rng))
            found = compare_family(baseline, {str(i): runs for i, runs in enumerate(variants)}, fixed(range(seeds)))
            intervals = [each.interval for each in found.values()]
            together += all(low <= truth <= high for truth, (low, high) in zip(truths, intervals, strict=True))
        assert together / simulated == pytest.approx(share, abs=0.01 + error)


@pytest.mark.parametrize("simulated", [150, pytest.param(5_000, marks=pytest.mark.slow)])
def test_two_standard_deviations_are_found_and_early(simulated: int) -> None:
    # Runs that share a seed and have a quarter of their variance in common; they have 0.43 at a small size.
    shared = rates(normal_runs(0.8, 0.01, [0.02] * 4, 10, 0.25), DESIGN, simulated)
    assert shared.different >= 0.99 - 1 / simulated**0.5 / 8
    assert shared.seeds == pytest.approx(7.4, abs=0.25)
    # Without anything in common.
    alone = detect(0.02, 0.01, 4, DESIGN, simulated)
    assert alone.different >= 0.96
    assert alone.seeds == pytest.approx(8.0, abs=0.25)


@pytest.mark.slow
def test_half_a_point_is_seldom_called_equivalent() -> None:
    for effects_ in ([0.005] * 4, [0.005, -0.005, 0.005, -0.005]):
        found = rates(normal_runs(0.8, 0.0015, effects_, 10), DESIGN, 3000)
        assert found.equivalent <= 0.05 / 2


def test_no_difference_is_mostly_called_equivalent() -> None:
    assert rates(normal_runs(0.8, 0.002, [0] * 3, 10), DESIGN, 60).equivalent > 0.9


@pytest.mark.parametrize("simulated", [200, pytest.param(4_000, marks=pytest.mark.slow)])
def test_intervals_cover_whenever_one_stops(simulated: int) -> None:
    rng = np.random.default_rng(1)
    draw = normal_runs(0.8, 0.01, [0.02, 0, -0.03], 10, 0.2)
    inside = []
    for _ in range(simulated):
        baseline, *variants = (dict(enumerate(runs)) for runs in draw(rng))
        family = {str(truth): runs for truth, runs in zip((0.02, 0.0, -0.03), variants, strict=True)}
        for truth, each in compare_family(baseline, family, DESIGN).items():
            inside.append(each.interval[0] <= float(truth) <= each.interval[1])
    assert np.mean(inside) >= 0.95 - 2.6 * (0.05 * 0.95 / len(inside)) ** 0.5


def test_looking_at_an_effect_three_times_is_no_three_chances() -> None:
    rng = np.random.default_rng(2)
    runs = rng.normal(size=(1000, 10))
    wrong = [any(one_sample(each[:look], DESIGN).p < 0.05 for look in LOOKS) for each in runs]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.02)
    peeked = [any(one_sample(each[:look], Design(DESIGN.seeds, (look,))).p < 0.05 for look in LOOKS) for each in runs]
    assert np.mean(peeked) > 0.08
    assert effects({(False,): [0.0] * 4, (True,): runs[0][:4]}, ["a"], DESIGN)["a"].p > 0


def share_found(differences: np.ndarray) -> float:
    """The share of comparisons [comparison, seed] by themselves that any look calls different."""
    found = np.zeros(len(differences), bool)
    for look in LOOKS:
        seen = differences[:, :look]
        t = seen.mean(1) / (seen.std(1, ddof=1) / look**0.5)
        found |= abs(t) > DESIGN.quantile(0.05, look - 1, look)
    return float(found.mean())


def test_a_single_comparison_is_wrong_a_little_more_often_than_one_in_twenty() -> None:
    """The bounds are exact for the normal distribution, and taken over to Student's t."""
    assert share_found(np.random.default_rng(0).normal(size=(400_000, 10))) == pytest.approx(0.0534, abs=0.001)


@pytest.mark.slow
def test_what_an_a_a_test_of_a_hundred_runs_can_tell() -> None:
    rng, shares = np.random.default_rng(1), []
    for _ in range(100):
        runs = rng.normal(size=100)[rng.random((20_000, 100)).argsort(1)[:, :20]]
        shares.append(share_found(runs[:, :10] - runs[:, 10:]))
    assert np.percentile(shares, [2.5, 97.5]) == pytest.approx([0.0501, 0.0572], abs=0.001)


def test_the_seeds_that_a_plan_proposes_are_enough_and_not_too_many() -> None:
    for effect, variants in ((0.01, 1), (0.02, 4)):
        seeds = seeds_for(effect, 0.01, variants)
        found = {
            n: detect(effect, 0.01, variants, Design(tuple(range(n)), (n,)), 150).different for n in (seeds - 2, seeds)
        }
        assert found[seeds] >= 0.84
        assert found[seeds - 2] <= 0.95
    assert seeds_for(0.0001, 0.01, 4) is None


def test_a_family_is_made_of_runs_that_are_all_different() -> None:
    runs = np.arange(60) / 1000
    family = resampled(runs, 4, 10, effect=0.1)(np.random.default_rng(0))
    assert family.shape == (5, 10)
    assert len(set((family - [[0], [0.1], [0.1], [0.1], [0.1]]).round(6).ravel())) == 50
    with pytest.raises(ValueError, match="takes 50 runs; there are 49"):
        resampled(runs[:49], 4, 10)
