"""The A/A test: on made-up runs it finds what is known of them, and files that it cannot use are named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.commands.calibrate import calibrate, print_calibration, read
from harness.common.errors import BadInput

RUNS = np.random.default_rng(0).normal(0.71, 0.008, 100).round(4).tolist()


@pytest.mark.parametrize("families", [40, pytest.param(3_000, marks=pytest.mark.slow)])
def test_runs_that_are_alike_are_seldom_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], families: int
) -> None:
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(RUNS))
    document = calibrate(file, families, tmp_path / "docs")
    assert document["runs"] == 100
    assert document["single"]["different"] <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5
    assert document["family"]["families"] <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5
    found = [row["different"] for row in document["power"]]
    assert (found[0] < 0.1, found[-1] > 0.95, found[4] > 0.85) == (True, True, True)
    page = (tmp_path / "docs" / "calibration.md").read_text()
    assert f"{document['family']['families']:.2%} had at least one" in page
    assert f"harness calibrate {file} --families {families}" in page
    assert (tmp_path / "docs" / "calibration.png").read_bytes().startswith(b"\x89PNG")
    print_calibration(document)
    assert f"Of {families:,} families of 4 variants" in capsys.readouterr().out


def test_what_is_read(tmp_path: Path) -> None:
    rows = [{"variant": "baseline", "accuracy": 0.7}, {"variant": "gelu", "accuracy": 0.8}]
    other = [{"variant": "baseline", "accuracy": 0.3, "phase": phase} for phase in ("tuning", "retuned")]
    (tmp_path / "report.json").write_text(json.dumps({"runs": [*rows, *other]}))
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv")
    pd.DataFrame({"accuracy": [0.6, 0.7]}).to_csv(tmp_path / "bare.csv")
    assert read(tmp_path / "report.json") == read(tmp_path / "table.csv") == [0.7]
    assert read(tmp_path / "bare.csv") == [0.6, 0.7]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "has no accuracies"),
        ("a.json", "{}", "has no accuracies"),
        ("a.json", '["x"]', "has no accuracies"),
        ("a.csv", "seed\n1\n", "has no accuracies"),
        ("a.json", "[71.3]", "give shares"),
        ("a.json", "[0.7]", "has 1 runs, and one family takes 50"),
        ("a.json", json.dumps([0.7] * 60), "All 60 runs have the accuracy 0.7"),
    ],
)
def test_a_file_of_no_use_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=words):
        calibrate(tmp_path / name, 100, tmp_path)
    with pytest.raises(BadInput, match="has no accuracies"):
        calibrate(tmp_path / "none.json", 100, tmp_path)
    with pytest.raises(BadInput, match="at least 10"):
        calibrate(tmp_path / name, 1, tmp_path)


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"variant": "baseline", "status": "finished", "accuracy": RUNS, "seed": range(100)})
    file = tmp_path / "runs.csv"
    for name, values in {
        "budget": ("full", "smoke"), "recipe": ("classic", "fast"), "split": ("final", "tune"), "source": ("ab", "cd"),
        "learning_rate": (0.04, 0.05),
    }.items():  # fmt: skip
        frame.assign(**{name: values * 50}).to_csv(file)
        first, second = values
        with pytest.raises(BadInput, match=rf"differ in {name} \({first} and {second}\).*--where {name}={first}"):
            read(file)
    frame.assign(budget="full").to_csv(file)
    assert read(file) == RUNS


def test_runs_that_are_not_finished_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("status,accuracy,budget\nfinished,0.7,full\nunfinished,,smoke\ndiverged,,full\n")
    assert read(file) == [0.7, 0.1]
