"""The arithmetic of a plan: which runs there are, which of them are by older code, and how fast they usually go."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_RECIPE, small_config
from hypothesis import given
from hypothesis import strategies as st

from harness.common.errors import BadInput
from harness.config import RunConfig
from harness.data import Dataset
from harness.plan import RunSpec, Settings, run_spec, stale, tuning_spec, usual_speed
from harness.run_options import MOST_SEEDS, TUNING_SEED, TUNING_SEEDS, parse_seeds, seeds_text
from harness.runs.folder import RunFolder
from harness.runs.records import Result


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An mlruns folder without a run; MLflow is not asked."""
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path))


def spec_of(config: RunConfig) -> RunSpec:
    return RunSpec("e", "baseline", "quick", "fast", "same recipe", config)


def ended(config: RunConfig, seconds: float = 10.0, status: str = "finished") -> RunSpec:
    metrics = {"accuracy": 0.5, "training_seconds": seconds} if status == "finished" else {}
    folder = RunFolder(config)
    with folder.locked():
        folder.finish(Result(status, "", metrics, "", {}, []), [])
    return spec_of(config)


def test_finished_runs_of_a_plan_by_older_code_are_counted(empty: None) -> None:
    config = small_config()
    planned = [spec_of(config), spec_of(dataclasses.replace(config, seed=1))]
    assert stale(planned) == 0
    ended(config)
    assert stale(planned) == 0
    for source in ("older", "oldest"):
        ended(dataclasses.replace(config, source=source))
    assert stale(planned) == 2
    # Another seed that is not planned, one that has begun and not ended, and the plan's own second seed.
    ended(dataclasses.replace(config, seed=2, source="older"))
    with RunFolder(dataclasses.replace(config, seed=1, source="older")).locked():
        pass
    assert stale(planned) == 2
    ended(dataclasses.replace(config, seed=1, source="older"), status="diverged")
    assert stale(planned) == 3


def test_the_usual_speed_is_the_median_of_the_finished_runs_of_these_sizes(empty: None) -> None:
    config = small_config(dataclasses.replace(SMALL_RECIPE, epochs=3))  # 64 images, 3 epochs: 192 images
    planned = [spec_of(config)]
    assert usual_speed(planned) is None
    ended(dataclasses.replace(config, seed=1), 2.0)
    assert usual_speed(planned) == 96
    ended(dataclasses.replace(config, seed=2), 4.0)
    assert usual_speed(planned) == 72
    ended(dataclasses.replace(config, seed=3), 192.0)
    assert usual_speed(planned) == 48
    ended(dataclasses.replace(config, seed=4, train_images=32), 0.1)
    ended(dataclasses.replace(config, seed=5, eval_images=10), 0.1)
    ended(dataclasses.replace(config, seed=6, engine="jax"), 0.1)
    ended(dataclasses.replace(config, seed=7), status="diverged")
    assert usual_speed(planned) == 48


@pytest.mark.parametrize(
    ("experiment", "budget", "kept"),
    [("baseline", "smoke", True), ("baseline", "full", True), ("e", "full", True), ("e", "quick", False)],
)
def test_models_are_kept_of_the_baseline_and_at_full_budget(experiment: str, budget: str, kept: bool) -> None:
    assert RunSpec(experiment, "v", budget, "fast", "same recipe", small_config()).keeps_model is kept


@given(
    st.lists(st.integers(0, 2000).filter(lambda seed: seed not in TUNING_SEEDS), min_size=1, max_size=20, unique=True)
)
def test_seeds_are_read_as_they_are_written(seeds: list[int]) -> None:
    assert parse_seeds(seeds_text(seeds)) == seeds


def test_seeds() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("3,") == [3]
    assert parse_seeds(" 4, 0 ") == [4, 0]
    assert parse_seeds(str(MOST_SEEDS)) == list(range(MOST_SEEDS))
    assert seeds_text([0, 1, 2]) == "3"
    assert seeds_text([0, 2]) == "0,2"
    for text in ("", ",", "0", str(MOST_SEEDS + 1), "-1", "1.5", "2,2", "a", "2,a"):
        with pytest.raises(BadInput, match="--seeds"):
            parse_seeds(text)


@pytest.fixture
def dataset() -> Dataset:
    # A whole epoch of the smallest budget: twelve images of each class.
    labels = np.arange(1200, dtype=np.int32) % 10
    images = np.zeros((1200, 32, 32, 3), np.uint8)
    return Dataset(
        "synthetic", "0" * 64, "here", "made", tuple("abcdefghij"), images, labels, images[:200], labels[:200]
    )  # fmt: skip


def test_a_changed_setting_has_one_name_however_it_was_typed(dataset: Dataset) -> None:
    def changes(given: dict[str, str]) -> str:
        return run_spec("e", "v", {}, dataset, Settings("smoke", changes=given), 0, "same recipe", 3.0).changes

    assert changes({"learning_rate": "5e-2"}) == changes({"learning_rate": "0.05"}) == "learning_rate=0.05"
    assert changes({"dropout": "0.0, .1,0,5e-1"}) == "dropout=0,0.1,0,0.5"
    assert changes({"flip": "TRUE"}) == changes({"flip": "true"}) == "flip=true"
    assert changes({"epochs": "03", "normalization": "none"}) == "normalization=none, epochs=3"


def test_a_tuning_run_is_one_of_the_tune_split_with_another_rate(dataset: Dataset) -> None:
    settings = Settings("smoke")
    usual, low = (tuning_spec("e", "v", {"flip": False}, dataset, settings, factor, 1001) for factor in (1.0, 0.25))
    assert low.config.recipe.learning_rate == pytest.approx(usual.config.recipe.learning_rate / 4)
    assert (low.config.seed, low.config.split, low.phase, low.factor) == (1001, "tune", "tuning", 0.25)
    assert usual == run_spec("e", "v", {"flip": False}, dataset, Settings("smoke", split="tune"), 1001, "tuning")
    # It is part of what earlier runs are found by.
    assert TUNING_SEED == TUNING_SEEDS[0] == 1000
    # Else a result could have a seed that chose its learning rate.
    assert not {*TUNING_SEEDS} & {*parse_seeds(str(MOST_SEEDS))}
    for seed in TUNING_SEEDS:
        with pytest.raises(BadInput, match=f"seed {seed} is one that learning rates are tuned"):
            parse_seeds(f"0,{seed}")


@pytest.mark.parametrize(
    # smoke: 128 images to train on and 100 to judge by, in 8 batches. The others ask for more than there are, or for
    # all, in 32 batches: 1200 // 32 = 37.
    ("budget", "sizes"),
    [("smoke", (128, 100, 16)), ("quick", (1200, 200, 37)), ("full", (1200, 200, 37))],
)
def test_a_budget_takes_no_more_images_than_there_are(
    dataset: Dataset, budget: str, sizes: tuple[int, int, int]
) -> None:
    config = run_spec("e", "v", {}, dataset, Settings(budget), 0, "same recipe").config
    assert (config.train_images, config.eval_images, config.recipe.batch_size) == sizes


def test_a_batch_may_be_all_of_the_images_and_no_larger(dataset: Dataset) -> None:
    def config_with(batch_size: int) -> RunConfig:
        settings = Settings("smoke", changes={"batch_size": str(batch_size)})
        return run_spec("e", "v", {}, dataset, settings, 0, "same recipe").config

    images = config_with(2).train_images
    assert config_with(images).recipe.batch_size == images
    with pytest.raises(BadInput, match=f"batch_size={images + 1} is more than"):
        config_with(images + 1)
