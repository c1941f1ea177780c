"""Seeds and images at once, classes, and calibration."""

from pathlib import Path

import numpy as np
import pytest
from report_builders import Lab
from scipy import stats

from harness.analysis.images import by_class, over_seeds_and_images
from harness.analysis.make_report import make_report
from harness.engine.loop import calibration_error
from harness.experiment import Experiment
from harness.reporting.tables import tables


def one(table: np.ndarray):
    return over_seeds_and_images({"": table})[""]


def simulated(rng: np.random.Generator, seeds: int, images: int) -> np.ndarray:
    """Differences with a spread over seeds, one over images, and one of each pair; their mean is 0."""
    own = rng.normal(size=(seeds, images))
    return 0.1 * rng.normal(size=(seeds, 1)) + 2 * rng.normal(size=images) + own


def test_where_only_seeds_vary_it_is_the_t_interval() -> None:
    levels = np.array([0.1, 0.3, 0.2, 0.5, 0.4])
    got = one(np.repeat(levels[:, None], 400, axis=1))
    wanted = stats.ttest_1samp(levels, 0).confidence_interval(0.95)
    assert (got.seeds, got.images, got.mean) == (5, 400, pytest.approx(0.3))
    assert got.interval == pytest.approx(tuple(wanted), rel=0.1)


def test_where_only_images_vary_it_is_their_standard_error() -> None:
    images = np.random.default_rng(0).normal(size=500)
    low, high = one(np.tile(images, (200, 1))).interval
    assert (high - low) / 2 == pytest.approx(1.97 * images.std() / 500**0.5, rel=0.08)


def test_it_covers_with_few_seeds_where_an_interval_over_seeds_alone_does_not() -> None:
    rng = np.random.default_rng(0)
    covered = over_seeds = 0
    for _ in range(150):
        table = simulated(rng, 5, 300)
        low, high = one(table).interval
        covered += low <= 0 <= high
        low, high = stats.ttest_1samp(table.mean(1), 0).confidence_interval(0.95)
        over_seeds += low <= 0 <= high
    assert covered / 150 >= 0.92
    assert over_seeds / 150 < 0.85


def test_it_is_the_same_each_time_and_one_seed_has_none() -> None:
    table = simulated(np.random.default_rng(1), 4, 50)
    assert one(table) == one(table)
    assert one(table[:1]).interval is None
    assert over_seeds_and_images({}) == {}
    with pytest.raises(ValueError, match=r"\[40, 50\]"):
        over_seeds_and_images({"a": table, "b": table[:, :40]})


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


def test_a_report_reads_what_the_runs_have_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path))
    experiment = Experiment(variants={"no norm": {"normalization": "none"}, "gelu": {"activation": "gelu"}})
    runs = Lab(experiment, {"baseline": 0.7, "no norm": 0.5, "gelu": 0.7}).under_one_recipe(4)
    rng, labels = np.random.default_rng(4), np.repeat(np.arange(10), 20)
    for run in runs:
        right = rng.random(200) < run.result.metrics["accuracy"]
        answers = np.where(right, labels, (labels + 1) % 10)
        run.folder.artifacts.mkdir(parents=True)
        if run.spec.variant != "gelu" or run.spec.config.seed:
            file = run.folder.artifacts / "probabilities.npz"
            np.savez_compressed(file, probabilities=np.eye(10, dtype=np.float16)[answers])
    report = make_report(experiment, runs, labels=labels)
    baseline, no_norm, gelu = report.images
    assert (baseline.difference, baseline.classes) == (None, ())
    assert (no_norm.difference.seeds, no_norm.difference.images) == (4, 200)
    assert no_norm.difference.interval[1] < 0
    assert [each.images for each in no_norm.classes] == [20] * 10
    assert no_norm.calibration_error == pytest.approx(0.5, abs=0.08)
    # One of its runs has kept nothing: no difference that would be over other seeds than the comparison's.
    assert (gelu.difference, gelu.classes) == (None, ())
    shown = next(table for table in tables(report) if table.title.startswith("test images"))
    assert [row[0] for row in shown.rows] == ["baseline", "no norm", "gelu"]
    assert report.to_json()["images"][1]["difference"]["seeds"] == 4
    assert "images" not in make_report(experiment, runs).to_json()
