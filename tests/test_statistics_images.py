"""Seeds and images at once, classes, and calibration."""

from dataclasses import replace

import numpy as np
import pytest
from report_builders import Lab
from scipy import stats

from harness.analysis.images import by_class, over_seeds_and_images
from harness.analysis.make_report import make_report
from harness.engine.loop import calibration_error
from harness.experiment import Experiment
from harness.reporting.tables import tables
from harness.runs.records import packed


def simulated(rng: np.random.Generator, seeds: int, images: int, over_images: float) -> np.ndarray:
    """Differences with a spread over seeds, one over images, and one of each pair; their mean is 0."""
    own = rng.normal(size=(seeds, images))
    return 0.1 * rng.normal(size=(seeds, 1)) + over_images * rng.normal(size=images) + own


def test_where_only_seeds_vary_it_is_the_t_interval() -> None:
    levels = np.array([0.1, 0.3, 0.2, 0.5, 0.4])
    got = over_seeds_and_images(np.repeat(levels[:, None], 400, axis=1))
    wanted = stats.ttest_1samp(levels, 0).confidence_interval(0.95)
    assert (got.seeds, got.images, got.mean) == (5, 400, pytest.approx(0.3))
    assert got.interval == pytest.approx(tuple(wanted))


def test_where_only_images_vary_it_is_their_standard_error() -> None:
    images = np.random.default_rng(0).normal(size=500)
    low, high = over_seeds_and_images(np.tile(images, (200, 1))).interval
    assert (high - low) / 2 == pytest.approx(stats.t.isf(0.025, 499) * images.std(ddof=1) / 500**0.5)


@pytest.mark.parametrize("over_images", [0, 0.5, 2])
def test_it_covers_with_few_seeds_and_is_not_too_wide(over_images: float) -> None:
    rng = np.random.default_rng(0)
    true = (0.1**2 / 5 + over_images**2 / 300 + 1 / 1500) ** 0.5
    intervals = [over_seeds_and_images(simulated(rng, 5, 300, over_images)).interval for _ in range(2000)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.025)
    # Of a normal distribution that one knows 1.96, of t with the seeds' four degrees of freedom 2.78.
    assert 1.9 <= np.median([(high - low) / 2 for low, high in intervals]) / true <= 2.8


def test_an_interval_over_seeds_alone_does_not_cover_where_images_vary() -> None:
    rng = np.random.default_rng(0)
    tables = [simulated(rng, 5, 300, 2) for _ in range(300)]
    over_seeds = [stats.ttest_1samp(table.mean(1), 0).confidence_interval(0.95) for table in tables]
    assert np.mean([low <= 0 <= high for low, high in over_seeds]) < 0.85


def test_one_seed_has_no_interval_and_one_value_none_but_itself() -> None:
    table = simulated(np.random.default_rng(1), 4, 50, 2)
    assert over_seeds_and_images(table[:1]).interval is None
    assert over_seeds_and_images(np.full((3, 20), 0.5)).interval == (0.5, 0.5)


def test_classes_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(10), 100)
    baseline = rng.random((6, 1000)) < 0.8
    variant = np.where(labels == 3, rng.random((6, 1000)) < 0.2, baseline)
    got = by_class(variant, baseline, labels)
    assert len(got) == 10
    assert got[3].interval[1] < -0.4
    assert [each.mean for i, each in enumerate(got) if i != 3] == [0] * 9
    assert {each.images for each in got} == {100}


def test_calibration_by_hand() -> None:
    # Two at 0.9 of which one is right, and two at 0.6 of which one is: |0.5 - 0.9| / 2 + |0.5 - 0.6| / 2.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    assert calibration_error(probabilities, np.array([0, 1, 1, 0])) == pytest.approx(0.25)
    # The last bin has its upper end too.
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([1])) == 1


def test_a_network_that_knows_how_sure_it_is_is_calibrated() -> None:
    rng = np.random.default_rng(3)
    sure = rng.uniform(0.5, 1, 20_000)
    probabilities = np.stack([sure, 1 - sure], axis=1).astype(np.float16)
    right = rng.random(20_000) < sure
    assert calibration_error(probabilities, np.where(right, 0, 1)) < 0.02
    half = np.where(rng.random(20_000) < 0.5, 0, 1)
    assert calibration_error(probabilities, half) == pytest.approx(0.25, abs=0.02)


def test_a_report_reads_which_images_the_runs_got_right() -> None:
    experiment = Experiment(variants={"no norm": {"normalization": "none"}, "gelu": {"activation": "gelu"}})
    rng, labels = np.random.default_rng(4), np.repeat(np.arange(10), 20)
    runs = []
    for run in Lab(experiment, {"baseline": 0.7, "no norm": 0.5, "gelu": 0.7}).under_one_recipe(4):
        spec = replace(run.spec, config=replace(run.spec.config, eval_images=200))
        result = replace(run.result, metrics=run.result.metrics | {"calibration_error": 0.1})
        if spec.variant != "gelu" or spec.config.seed:
            result = replace(result, correct=packed(rng.random(200) < result.metrics["accuracy"]))
        runs.append(replace(run, spec=spec, result=result))
    report = make_report(experiment, runs, labels=labels)
    baseline, no_norm, gelu = report.images
    assert (baseline.difference, baseline.classes) == (None, ())
    assert (no_norm.difference.seeds, no_norm.difference.images) == (4, 200)
    assert no_norm.difference.interval[1] < 0
    assert [each.images for each in no_norm.classes] == [20] * 10
    assert no_norm.calibration_error == pytest.approx(0.1)
    # One of its runs does not say it: no difference that would be over other seeds than the comparison's.
    assert (gelu.difference, gelu.classes) == (None, ())
    shown = next(table for table in tables(report) if table.title.startswith("test images"))
    assert [row[0] for row in shown.rows] == ["baseline", "no norm", "gelu"]
    assert report.to_json()["images"][1]["difference"]["seeds"] == 4
    # The evidence has no labels: the difference over seeds and images needs none.
    unlabelled = make_report(experiment, runs).images[1]
    assert (unlabelled.difference, unlabelled.classes) == (no_norm.difference, ())
