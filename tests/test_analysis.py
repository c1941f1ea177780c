"""Predictions are scored by what was measured, and a diverged run is counted."""

import dataclasses
import math
from typing import Any

import pytest
from conftest import SMALL_RECIPE, finished, small_config
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import Compared, Design
from harness.analysis.make_report import going_on, make_report
from harness.analysis.report import RunLink
from harness.analysis.target import score
from harness.experiment import Experiment, Prediction, factorial
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import Phase, RunResult, RunSpec


def outcome(
    variant: str, seed: int, accuracy: float | None, phase: Phase = "same recipe", factor: float = 1.0
) -> RunResult:
    recipe = dataclasses.replace(SMALL_RECIPE, learning_rate=0.02 * factor)
    spec = RunSpec("e", variant, "quick", "fast", phase, small_config(recipe, seed=seed), factor=factor)
    if accuracy is None:
        result = Result("diverged", "the loss was nan", {}, "", {}, [])
    else:
        result = finished(accuracy, cross_entropy=1 - accuracy)
    history = [{"epoch": 1, "test_accuracy": accuracy or 0.1, "test_loss": 1.0, "pflop": 0.1}]
    return RunResult(spec, RunFolder(spec.config), result, history)


def outcomes(accuracies: dict[str, list[float | None]]) -> list[RunResult]:
    return [outcome(variant, seed, a) for variant, each in accuracies.items() for seed, a in enumerate(each)]


def measured(mean: float, half: float, verdict: str = "worse", failed: int = 0) -> Compared:
    return Compared(
        n=10, mean=mean, sd=1.0, interval=(mean - half, mean + half), p=1.0, p_holm=1.0, confidence=0.95,
        probability_of_improvement=0.5, probability_of_improvement_interval=(0.0, 1.0), verdict=verdict, failed=failed,
        goes_on=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prediction", "compared", "said"),
    [
        (Prediction("v", "worse", 0.05), measured(-0.08, 0.02), "supported"),
        # The mean is as predicted; the interval allows less.
        (Prediction("v", "worse", 0.05), measured(-0.08, 0.04), "undecided"),
        (Prediction("v", "worse", 0.05), measured(-0.02, 0.01), "refuted"),
        # Worse, and by an amount that the interval leaves open.
        (Prediction("v", "worse", 0.05), measured(-0.04, 0.03), "undecided"),
        (Prediction("v", "worse", 0.05), measured(0.03, 0.01, "better"), "refuted"),
        (Prediction("v", "worse", 0.05), measured(0.00, 0.10, "undecided"), "undecided"),
        # The predicted size itself is as predicted.
        (Prediction("v", "worse", 0.25), measured(-0.375, 0.125), "supported"),
        (Prediction("v", "worse", 0.25), measured(-0.125, 0.125), "undecided"),
        (Prediction("v", "better", 0.25), measured(0.125, 0.125, "better"), "undecided"),
        (Prediction("v", "better"), measured(0.03, 0.01, "better"), "supported"),
        (Prediction("v", "better"), measured(-0.03, 0.01), "refuted"),
        (Prediction("v", "worse"), measured(0.03, 0.01, "better"), "refuted"),
        (Prediction("v", "equivalent"), measured(0.001, 0.002, "equivalent"), "supported"),
        (Prediction("v", "equivalent"), measured(0.010, 0.020, "undecided"), "undecided"),
        # There, and perhaps within the margin.
        (Prediction("v", "equivalent"), measured(0.007, 0.004, "better"), "undecided"),
        (Prediction("v", "equivalent"), measured(-0.03, 0.01), "refuted"),
        (Prediction("v", "worse", 0.05), measured(-0.01, 0.001, "too few seeds"), "undecided"),
        (Prediction("v", "worse", 0.05), measured(-0.08, 0.001, "exploratory"), "undecided"),
        (Prediction("v", "stuck"), measured(-0.7, 0.1, failed=10), "supported"),
        (Prediction("v", "stuck"), measured(-0.7, 0.1, failed=4), "refuted"),
        (Prediction("v", "stuck"), measured(-0.7, 0.1, "too few seeds", failed=10), "undecided"),
    ],
)
def test_a_prediction_is_scored_by_the_bounds_of_the_interval(
    prediction: Prediction, compared: Compared, said: str
) -> None:
    assert score(prediction, compared)[0] == said


@pytest.mark.parametrize(
    ("prediction", "because"),
    [
        (Prediction("v", "worse", 0.05), "predicted worse by at least 5 points"),
        (Prediction("v", "worse", 0.01), "predicted worse by at least 1 point"),
        (Prediction("v", "better"), "predicted better"),
    ],
)
def test_a_score_says_what_was_predicted_and_what_measured(prediction: Prediction, because: str) -> None:
    many = measured(-0.08, 0.02, "worse")
    assert score(prediction, many)[1] == (
        f"{because}; measured -8.00 points [-10.00, -6.00], n = 10, verdict worse"
    )  # fmt: skip
    once = dataclasses.replace(many, n=1, interval=None, verdict="too few seeds")
    assert score(prediction, once) == ("undecided", f"{because}; measured -8.00 points")


@given(
    st.sampled_from(["worse", "better"]),
    st.floats(0, 0.3),
    st.floats(-0.3, 0.3),
    st.floats(0, 0.1),
)
def test_what_is_supported_is_never_refuted_by_the_opposite(
    direction: str, by: float, mean: float, half: float
) -> None:
    verdict = "undecided" if abs(mean) <= half else "better" if mean > 0 else "worse"
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
    assert row.each == (0.5,) * 9 + (0.1,)
    # The baseline's mean is 0.6045, and the variant's (9 * 0.5 + 0.1) / 10 = 0.46.
    assert row.against_baseline.mean == pytest.approx(-0.1445)
    assert row.against_baseline.verdict == "worse"
    assert row.against_baseline.n == 10
    assert report.predictions[0].score == "supported"


def test_no_verdict_before_the_whole_family_is_there() -> None:
    runs = outcomes({"baseline": [0.6 + 0.001 * i for i in range(10)], "v": [0.5] * 10})
    report = make_report(Experiment(variants={"v": {}, "w": {}}), runs)
    compared = report.variants[1].against_baseline
    assert (compared.verdict, compared.p_holm) == ("too few seeds", None)


def test_a_run_is_stuck_below_15_percent_and_a_diverged_one_is_not_counted_twice() -> None:
    (row,) = make_report(Experiment(), outcomes({"baseline": [0.15, 0.1499, 0.6, None]})).variants
    assert (row.n, row.stuck, row.diverged) == (4, 1, 1)


def made_on(results: list[RunResult], budget: str = "quick", **config: Any) -> list[RunResult]:
    """The same runs, on other data or at another budget."""
    return [
        dataclasses.replace(
            each, spec=dataclasses.replace(
                each.spec, budget=budget, config=dataclasses.replace(each.spec.config, **config)
            )
        )
        for each in results
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "data", "split", "accuracies", "verdicts"),
    [
        ("full", "cifar10-jpeg75", "final", [0.90, 0.91, 0.92], ("exceeds", "below")),
        # The cross-entropies are 0.49 on average, which is better than 0.7.
        ("full", "cifar10-jpeg75", "final", [0.50, 0.51, 0.52], ("below", "below")),
        ("full", "cifar10-jpeg75", "final", [0.90, 0.91, 0.92, None], ("none: a run diverged",) * 2),
        ("quick", "cifar10-jpeg75", "final", [0.90, 0.91, 0.92], ("not compared",) * 2),
        ("full", "cifar10-jpeg75", "tune", [0.90, 0.91, 0.92], ("not compared",) * 2),
        ("full", "digits", "final", [0.90, 0.91, 0.92], ("not compared",) * 2),
        ("quick", "cifar10-jpeg75", "final", [0.90, 0.91, 0.92, None], ("not compared",) * 2),
    ],
)
def test_the_targets_are_for_whole_runs_on_the_test_images_that_all_finished(
    budget: str, data: str, split: str, accuracies: list[float | None], verdicts: tuple[str, str]
) -> None:
    runs = made_on(outcomes({"baseline": accuracies}), budget, data=data, split=split)
    report = make_report(Experiment(), runs)
    (row,) = report.variants
    assert row.compared == (verdicts[0] != "not compared")
    assert (row.accuracy.verdict, row.cross_entropy.verdict) == verdicts
    assert {row.accuracy.p is None, row.cross_entropy.p is None} == {verdicts[0][:4] in ("none", "not ")}
    assert row.accuracy.n == 3
    assert [run.distance_to_published is not None for run in report.runs] == [row.compared] * len(runs)


def test_a_variant_that_never_finished_has_no_mean() -> None:
    (row,) = make_report(Experiment(), outcomes({"baseline": [None]})).variants
    assert (row.n, row.diverged, row.accuracy, row.cross_entropy) == (1, 1, None, None)


def test_each_phase_has_its_own_comparison_and_tuning_has_none() -> None:
    level = {("same recipe", "v"): 0.5, ("retuned", "v"): 0.6}
    rate = {"same recipe": 1.0, "retuned": 0.5}

    def uneven(variant: str, seed: int) -> int:
        return -1 if (variant, seed) == ("v", 0) else seed

    tuning = [*tuning_of("baseline", 1.0), *tuning_of("v", 0.5)]
    final = [
        outcome(variant, seed, level.get((phase, variant), 0.6) + 0.001 * uneven(variant, seed), phase, rate[phase])
        for phase in ("same recipe", "retuned")
        for variant in ("baseline", "v")
        for seed in range(7)
    ]
    experiment = Experiment(variants={"v": {}}, predictions=(Prediction("v", "worse", 0.05),))
    report = make_report(experiment, made_on(tuning, split="tune", eval_images=20) + final)
    assert (report.split, report.eval_images) == ("final", 40)
    assert [(row.phase, row.variant, row.n) for row in report.variants] == [
        ("same recipe", "baseline", 7), ("same recipe", "v", 7), ("retuned", "baseline", 7), ("retuned", "v", 7),
    ]  # fmt: skip
    differences = [row.against_baseline and row.against_baseline.mean for row in report.variants]
    assert differences == [None, pytest.approx(-0.1 - 0.001 / 7), None, pytest.approx(-0.001 / 7)]
    assert [(each.phase, each.score) for each in report.predictions] == [
        ("same recipe", "supported"), ("retuned", "refuted"),
    ]  # fmt: skip
    assert [tuned.variant for tuned in report.tuning] == ["baseline", "v"]
    # With nothing else to report on, the report is on the images that tuned.
    alone = make_report(experiment, made_on(tuning[:8], split="tune", eval_images=20))
    assert (alone.split, alone.eval_images, alone.variants) == ("tune", 20, ())
    assert len(alone.tuning) == 1


def test_effects_pair_the_seeds_that_all_cells_have() -> None:
    experiment = factorial({"a": ("flip", False), "b": ("shift", 0)})
    level = {"baseline": 0.8, "no a": 0.7, "no b": 0.6, "no a + no b": 0.2}
    runs = outcomes({variant: [value + 0.01 * i for i in range(6)] for variant, value in level.items()})
    report = make_report(experiment, runs[:-1])
    effects = {effect.effect: effect for effect in report.effects}
    assert effects["a"].n == 5
    assert effects["a"].mean == pytest.approx((0.8 - 0.7 + 0.6 - 0.2) / 2)
    assert effects["a x b"].mean == pytest.approx(((0.8 - 0.7) - (0.6 - 0.2)) / 2)


def tuning_of(variant: str, best: float, by: float = 0.1) -> list[RunResult]:
    """A grid of rates with two seeds each, best at a factor; each factor of 2 away from it costs `by`."""
    return [
        outcome(variant, seed, 0.6 - by * abs(math.log2(factor / best)) + 0.001 * (seed % 2), "tuning", factor)
        for factor in (1 / 4, 1 / 2, 1.0, 2.0)
        for seed in (1000, 1001)
    ]


def test_the_learning_rate_that_validates_best_is_told_and_whether_the_choice_is_clear() -> None:
    runs = [*tuning_of("baseline", 1.0), *tuning_of("v", 2.0), *tuning_of("w", 0.5, by=0.0001)]
    runs[0] = outcome("baseline", 1000, None, "tuning", 1 / 4)
    report = make_report(Experiment(variants={"v": {}, "w": {}}), runs[::-1])
    told = {tuned.variant: tuned for tuned in report.tuning}
    assert {name: (each.at_the_edge, each.clear) for name, each in told.items()} == {
        "baseline": (False, True), "v": (True, False), "w": (False, False),
    }  # fmt: skip
    rate = told["baseline"].best
    assert told["v"].best == pytest.approx(2 * rate)
    # Lowest learning rate first; what diverged counts as guessing.
    lowest = told["baseline"].grid[0]
    assert lowest.learning_rate == pytest.approx(rate / 4)
    assert sorted(lowest.each) == [0.1, pytest.approx(0.6 - 0.2 + 0.001)]
    assert lowest.accuracy == pytest.approx(sum(lowest.each) / 2)
    assert told["baseline"].maxima is None
    assert told["w"].maxima
    assert told["w"].maxima.difference == pytest.approx(0)


@pytest.mark.parametrize(("baseline", "v", "judged"), [(0.1, 0.1, {"v"}), (0.1, 0.0001, set()), (0.0001, 0.1, set())])
def test_a_retuned_variant_has_a_verdict_only_if_both_choices_are_clear(
    baseline: float, v: float, judged: set[str]
) -> None:
    tuning = [*tuning_of("baseline", 1.0, baseline), *tuning_of("v", 0.5, v)]
    final = [
        outcome(variant, seed, level + 0.001 * (seed % 3), "retuned", rate)
        for variant, level, rate in (("baseline", 0.6, 1.0), ("v", 0.5, 0.5))
        for seed in range(7)
    ]
    report = make_report(Experiment(variants={"v": {}}), made_on(tuning, split="tune", eval_images=20) + final)
    rows = {row.variant: row for row in report.rows("retuned")}
    assert {name for name, row in rows.items() if row.against_baseline} == judged
    assert rows["v"].rate_is_clear == bool(judged)


def test_each_run_is_told_with_its_link_its_work_and_its_distance_to_the_published_curve() -> None:
    results = [outcome("baseline", seed, accuracy) for seed, accuracy in enumerate((0.6, 0.7, None))]
    results.append(outcome("baseline", 1000, 0.5, "tuning"))
    results[1].history.append(results[1].history[0] | {"epoch": 2, "pflop": 0.3})
    results[2].history.clear()
    results = made_on(results, "full", data="cifar10-jpeg75")
    key = results[0].spec.config.key
    report = make_report(Experiment(), results, trained={key}, links={key: RunLink("ab", "http://x", 2.0)})
    assert [(run.mlflow_run_id, run.url, run.tracking_seconds, run.trained) for run in report.runs] == [
        ("ab", "http://x", 2.0, True), *[("", "", None, False)] * 3,
    ]  # fmt: skip
    assert [run.accuracy for run in report.runs] == [0.6, 0.7, None, 0.5]
    assert [run.pflop for run in report.runs] == [0.1, 0.3, 0, 0.1]
    # A run without an epoch has no curve, and one that tunes is judged by other images.
    assert [run.distance_to_published and run.distance_to_published.epochs for run in report.runs] == [1, 2, None, None]
    assert (report.missing, report.stale) == (0, 0)


NORMS = Experiment(variants={"v": {}, "w": {}}, predictions=(Prediction("v", "worse", 0.05),))
SPREAD = (0.001, -0.002, 0.0, 0.002, -0.001, 0.002, -0.002, 0.001, 0.0, -0.001)
TEN = [0.6 + value for value in SPREAD[::-1]]


def apart(difference: float, spread: float = 1.0) -> list[float]:
    return [a + difference + spread * b for a, b in zip(TEN, SPREAD, strict=True)]


def test_a_report_takes_the_declared_seeds_alone() -> None:
    design = Design((0, 1, 2, 3), (4,))
    runs = outcomes({"baseline": TEN, "v": apart(-0.1), "w": apart(-0.1)})
    report = make_report(NORMS, runs, design)
    assert [row.n for row in report.variants] == [4, 4, 4]
    assert (report.looks, report.exploratory) == ((4,), False)
    later = make_report(NORMS, runs, dataclasses.replace(design, exploratory=True))
    compared = later.variants[1].against_baseline
    assert (compared.verdict, compared.p, later.predictions[0].score) == ("exploratory", None, "undecided")


def test_a_pair_of_runs_gets_one_verdict() -> None:
    # Tuned, the baseline and v keep their rate: the same runs again. w does not, and is a family of its own.
    again = [
        outcome(variant, seed, accuracy, "retuned", factor)
        for variant, factor, values in (("baseline", 1.0, TEN), ("v", 1.0, apart(-0.1)), ("w", 3.0, apart(0.002, 4)))
        for seed, accuracy in enumerate(values)
    ]
    runs = outcomes({"baseline": TEN, "v": apart(-0.1), "w": apart(-0.1)}) + again
    rows = {(row.phase, row.variant): row for row in make_report(NORMS, runs).variants}
    assert rows["retuned", "v"].against_baseline is None
    assert rows["retuned", "v"].judged_in == "same recipe"
    assert rows["retuned", "w"].judged_in is rows["same recipe", "v"].judged_in is None
    alone = rows["retuned", "w"].against_baseline
    assert alone.p_holm == alone.p
    assert [each.phase for each in make_report(NORMS, runs).predictions] == ["same recipe"]


def test_what_is_decided_gets_no_further_seeds() -> None:
    design = Design(tuple(range(10)), (4, 7, 10))

    def going(experiment: Experiment, w: list[float], seeds: int = 4) -> set[str]:
        runs = outcomes({"baseline": TEN[:seeds], "v": apart(-0.1)[:4], "w": w[:seeds]})
        return going_on(experiment, "same recipe", runs, design)

    assert going(NORMS, apart(0.002, 4)) == {"baseline", "w"}
    assert going(NORMS, apart(0.002, 4), 7) == {"baseline", "w"}
    assert going(NORMS, apart(0.002, 4), 10) == set()
    assert going(NORMS, apart(-0.1)) == set()
    # The cells of a factorial design are all in its effects.
    cells = dataclasses.replace(NORMS, factors={"a": ("flip", False)})
    assert going(cells, apart(0.002, 4)) == {"baseline", "v", "w"}
    assert going(cells, apart(-0.1)) == set()
