"""Predictions are scored by what was measured, and a diverged run is counted."""

import dataclasses

import pytest
from conftest import SMALL_RECIPE, small_config
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import Compared
from harness.analysis.make_report import best_factors, make_report
from harness.analysis.report import CHANCE
from harness.analysis.target import score
from harness.experiment import Experiment, Prediction, factorial
from harness.runs.folder import Result, RunFolder
from harness.runs.spec import Phase, RunResult, RunSpec


def outcome(
    variant: str, seed: int, accuracy: float | None, phase: Phase = "same recipe", factor: float = 1.0
) -> RunResult:
    recipe = dataclasses.replace(SMALL_RECIPE, learning_rate=0.02 * factor)
    spec = RunSpec("e", variant, "quick", "fast", phase, small_config(recipe, seed=seed), factor=factor)
    if accuracy is None:
        result = Result("diverged", "the loss was nan", {}, "", {}, [])
    else:
        metrics = {"accuracy": accuracy, "cross_entropy": 1 - accuracy, "training_seconds": 1.0}
        result = Result("finished", "", metrics, "ab", {}, [])
    history = [{"epoch": 1, "test_accuracy": accuracy or 0.1, "test_loss": 1.0, "pflop": 0.1}]
    return RunResult(spec, RunFolder(spec.config), result, history)


def outcomes(accuracies: dict[str, list[float | None]]) -> list[RunResult]:
    return [outcome(variant, seed, a) for variant, each in accuracies.items() for seed, a in enumerate(each)]


def measured(mean: float, half: float, verdict: str, enough: bool = True) -> Compared:
    return Compared(
        n=10, mean=mean, sd=1.0, interval=(mean - half, mean + half), p=1.0, probability_of_improvement=0.5,
        probability_of_improvement_interval=(0.0, 1.0), equivalence_p=1.0, p_holm=1.0, equivalence_p_holm=1.0,
        verdict=verdict, enough=enough,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prediction", "compared", "said"),
    [
        (Prediction("v", "worse", 0.05), measured(-0.08, 0.02, "worse"), "supported"),
        (Prediction("v", "worse", 0.05), measured(-0.02, 0.01, "worse"), "refuted"),
        # The predicted size itself is as predicted: as the mean, and as the end of the interval.
        (Prediction("v", "worse", 0.25), measured(-0.25, 0.125, "worse"), "supported"),
        (Prediction("v", "worse", 0.25), measured(-0.125, 0.125, "worse"), "inconclusive"),
        (Prediction("v", "better", 0.25), measured(0.125, 0.125, "better"), "inconclusive"),
        (Prediction("v", "worse", 0.05), measured(-0.04, 0.03, "worse"), "inconclusive"),
        (Prediction("v", "worse", 0.05), measured(0.03, 0.01, "better"), "refuted"),
        (Prediction("v", "worse", 0.05), measured(0.00, 0.10, "inconclusive"), "inconclusive"),
        (Prediction("v", "better"), measured(0.03, 0.01, "better"), "supported"),
        (Prediction("v", "better"), measured(-0.03, 0.01, "worse"), "refuted"),
        (Prediction("v", "equivalent"), measured(0.001, 0.002, "equivalent"), "supported"),
        (Prediction("v", "equivalent"), measured(0.010, 0.020, "inconclusive"), "inconclusive"),
        (Prediction("v", "equivalent"), measured(-0.03, 0.01, "worse"), "refuted"),
        (Prediction("v", "worse", 0.05), measured(-0.01, 0.001, "inconclusive", enough=False), "inconclusive"),
    ],
)
def test_a_prediction_is_scored(prediction: Prediction, compared: Compared, said: str) -> None:
    assert score(prediction, compared)[0] == said


@given(
    st.sampled_from(["worse", "better"]),
    st.floats(0, 0.3),
    st.floats(-0.3, 0.3),
    st.floats(0, 0.1),
)
def test_what_is_supported_is_never_refuted_by_the_opposite(
    direction: str, by: float, mean: float, half: float
) -> None:
    verdict = "inconclusive" if abs(mean) <= half else "better" if mean > 0 else "worse"
    mirrored = {"better": "worse", "worse": "better"}
    said = score(Prediction("v", direction, by), measured(mean, half, verdict))[0]
    opposite = score(Prediction("v", mirrored[direction], by), measured(-mean, half, mirrored.get(verdict, verdict)))[0]
    assert said == opposite


def test_a_clear_difference_is_found_and_a_diverged_run_counts_as_guessing() -> None:
    runs = outcomes({"baseline": [0.6 + 0.001 * i for i in range(10)], "v": [0.5] * 9 + [None]})
    experiment = Experiment(variants={"v": {}}, predictions=(Prediction("v", "worse", 0.05),))
    report = make_report(experiment, runs)
    baseline, row = report.variants
    assert baseline.against_baseline is None
    assert row.diverged == 1
    assert row.each[-1] == CHANCE
    assert row.against_baseline.verdict == "worse"
    assert row.against_baseline.n == 10
    assert report.predictions[0].score == "supported"


def test_no_verdict_before_the_whole_family_is_there() -> None:
    runs = outcomes({"baseline": [0.6 + 0.001 * i for i in range(10)], "v": [0.5] * 10})
    report = make_report(Experiment(variants={"v": {}, "w": {}}), runs)
    assert report.variants[1].against_baseline.verdict == "inconclusive"


def test_effects_pair_the_seeds_that_all_cells_have() -> None:
    experiment = factorial({"a": ("flip", False), "b": ("shift", 0)})
    level = {"baseline": 0.8, "no a": 0.7, "no b": 0.6, "no a + no b": 0.1}
    runs = outcomes({variant: [value + 0.01 * i for i in range(6)] for variant, value in level.items()})
    report = make_report(experiment, runs[:-1])
    effects = {effect.effect: effect for effect in report.effects}
    assert effects["a"].n == 5
    assert effects["a"].mean == pytest.approx((0.8 - 0.7 + 0.6 - 0.1) / 2)
    assert effects["a x b"].mean == pytest.approx(((0.8 - 0.7) - (0.6 - 0.1)) / 2)


def test_the_learning_rate_that_validates_best_is_taken_and_the_edge_is_told() -> None:
    grid = {"baseline": (0.2, 0.5, 0.4), "v": (0.1, 0.2, 0.3), "w": (None, 0.3, 0.3)}
    runs = [
        outcome(variant, 1000, accuracy, "tuning", factor)
        for variant, accuracies in grid.items()
        for factor, accuracy in zip((1 / 3, 1.0, 3.0), accuracies, strict=True)
    ]
    assert best_factors(runs) == {"baseline": 1.0, "v": 3.0, "w": 1.0}
    report = make_report(Experiment(variants={"v": {}, "w": {}}), runs)
    assert [tuned.at_the_edge for tuned in report.tuning] == [False, True, False]
