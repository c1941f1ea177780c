"""Numbers of the README, computed again from the committed tables with pandas and scipy, and nothing of the harness.

`make verify` uses the harness's own code: a mistake in it would be in both numbers.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()

#: What a run of README's table has, where nothing is changed.
BASELINE = {
    "normalization": "batch", "normalization_place": "before", "activation": "relu", "pooling": "max",
    "input_scaling": "standardised", "initializer": "he_normal", "optimizer": "muon", "learning_rate": 0.04,
    "epochs": 8, "batch_size": 128, "shift": 2, "flip": True, "label_smoothing": 0.1, "dropout": "0,0,0,0",
    "first_layer": "random", "weight_averaging": "off", "alternating_flip": False, "shift_mode": "reflect",
}  # fmt: skip

NONE, SIGMOID, RAW = {"normalization": "none"}, {"activation": "sigmoid"}, {"input_scaling": "raw"}

#: Each number of the table of claims: the words before it, what is changed, and from what.
CLAIMS = {
    "change less than half a point: ": (RAW, {}),
    "Without batch norm: ": (NONE | RAW, {}),
    "a linear network gives ": ({"activation": "linear", "pooling": "average"}, {}),
    "max-poolings alone make that ": ({"activation": "linear"}, {}),
    "With batch norm ReLU is better: ": ({}, SIGMOID),
    "Without, it is worse\\*: ": (NONE, NONE | SIGMOID),
    "With ReLU it gives ": ({}, NONE),
    "with sigmoid\\* ": (SIGMOID, NONE | SIGMOID),
    "Group norm (8 groups) in its place: ": ({"normalization": "group"}, {}),
}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    table = pd.read_parquet(PROJECT / "experiments" / "results" / "evidence" / "runs.parquet")
    return table[(table.device == "NVIDIA H200") & (table.split == "final") & (table.train_images == 50_000)]


def accuracies(runs: pd.DataFrame, **changes: object) -> pd.Series:
    """Accuracy by seed of the runs with some changes to the baseline; 0.1 for a run that diverged."""
    for name, value in (BASELINE | changes).items():
        runs = runs[runs[name] == value]
    assert not runs.seed.duplicated().any()
    return runs.set_index("seed").accuracy.fillna(0.1)


def interval(values: pd.Series) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def test_what_plain_sgd_does_to_sigmoid_without_batch_norm(runs: pd.DataFrame) -> None:
    epochs = pd.read_parquet(PROJECT / "experiments" / "results" / "evidence" / "epochs.parquet")
    setting = {"named_recipe": "classic", "learning_rate": 0.1, "normalization": "none", "activation": "sigmoid",
               "input_scaling": "standardised"}  # fmt: skip
    for name, value in setting.items():
        runs = runs[runs[name] == value]
    first = epochs[(epochs.epoch == 1) & epochs.run_key.isin(runs.run_key)]
    words = re.search(r"stuck in (\d) of (\d), its gradient at the first convolution ([.\d]+) of that", README)
    assert words
    assert sorted(runs.seed) == [10, 11, 12, 13, 14]
    assert (int(words[1]), int(words[2])) == ((runs.accuracy < 0.15).sum(), 5)
    assert float(words[3]) == pytest.approx(first.gradient_ratio.median(), abs=5e-6)


@pytest.mark.parametrize("words", CLAIMS)
def test_what_a_change_does(runs: pd.DataFrame, words: str) -> None:
    (said,) = re.findall(rf"{re.escape(words)}([^|]*?\]|stuck in . of .)", README)
    second = runs[runs.seed.isin(range(10, 15))]
    changed, other = (accuracies(second, **changes) for changes in CLAIMS[words])
    points = 100 * (changed - other).dropna()
    stuck = (changed < 0.15).sum()
    low, high = interval(points)
    assert said == (
        f"stuck in {stuck} of {len(changed)}" if stuck else f"{points.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
    )
    assert len(points) == 5


@pytest.mark.parametrize(("row", "changes", "seeds"), [
    ("`fast`, one H200, JAX, bfloat16", {}, range(10)),
    ("[six epochs](docs/records.md), one H200",
     {"epochs": 6, "learning_rate": 0.0542, "shift": 3, "label_smoothing": 0.05}, range(10, 20)),
    ("[dropout rising to 0.5, norm behind the activation](docs/records.md#dropout-at-16), one H200",
     {"epochs": 16, "dropout": "0.5,0.5,0.5,0.5", "normalization_place": "after"}, range(10, 20)),
], ids=["fast", "six epochs", "dropout"])  # fmt: skip
def test_how_far_a_recipe_is_from_the_target(
    runs: pd.DataFrame, row: str, changes: dict[str, object], seeds: range
) -> None:
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {row} |"))
    values = accuracies(runs[runs.seed.isin(seeds)], **changes)
    low, high = interval(values)
    assert f"| {values.mean():.4f} [{low:.4f}, {high:.4f}] | {len(values)} |" in line
    above = stats.ttest_1samp(values, 0.86, alternative="greater").pvalue
    assert ("| exceeds |" in line) == bool(above < 0.01)
