"""The ledger keeps its rules, its files say what the runs gave, and its page is what the files give."""

import dataclasses
import gzip
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import small_config
from typer.testing import CliRunner

from harness.analysis import ledger
from harness.analysis.ledger import read_ledger
from harness.cli.app import app
from harness.commands import record as command
from harness.commands.record import Selection, record
from harness.common.errors import BadInput
from harness.config import change, read_changes
from harness.recipes import RECIPES
from harness.reporting.ledger_page import ledger_page
from harness.runs.folder import RunFolder, run_at
from harness.runs.records import Result
from harness.runs.spec import RunSpec

TRIED = {"epochs": 5, "sgd_ratio": 16.0}

Train = Callable[..., None]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the ledger that are not the project's."""
    monkeypatch.setattr(ledger, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(command, "PAGE", tmp_path / "records.md")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def train(runs: Path) -> Train:
    """Write finished runs of `fast` with some changes: seed -> accuracy, or None for one that diverged."""

    def write(
        accuracies: dict[int, float | None], changes: dict[str, Any] = TRIED, split: str = "tune", to: Path = runs
    ) -> None:
        network, recipe = change(*RECIPES["fast"], changes)
        for seed, accuracy in accuracies.items():
            config = dataclasses.replace(
                small_config(recipe, network, seed),
                split=split, data="cifar10-jpeg75", train_images={"tune": 45_000, "final": 50_000}[split],
            )  # fmt: skip
            folder = RunFolder(config, to / config.key)
            folder.artifacts.mkdir(parents=True)
            (folder.path / "config.json").write_text(config.to_json())
            tags = {"git_commit": "0123456789abcdef", "git_dirty": "false", "device": "A Processor, 2 cores"}
            where = {"begun": 1795761583265, "source": "there", "tags": tags}
            (folder.path / "environment.json").write_text(json.dumps(where))
            metrics = {} if accuracy is None else {"accuracy": accuracy}
            folder.finish(Result("finished" if metrics else "diverged", "", metrics, "", {}, []), [])

    return write


def enter(source: Path, changes: dict[str, Any] = TRIED, split: str = "tune", **more: Any) -> dict[str, Any]:
    selection = Selection(split, "fast", changes, more.pop("vary", ()))
    return record("sgd-ratio", "Other rates.", [source], selection, more.pop("decision", "undecided"), None)


def seeds(name: str = "sgd-ratio") -> list[list[int]]:
    return [[run.seed for run in each.runs] for each in read_ledger()[name].tries]


TEN = {seed: 0.86 + 0.001 * (seed % 4) for seed in range(10, 20)}


@pytest.fixture
def kept(train: Train, runs: Path) -> None:
    train({0: 0.85, 1: 0.86, 2: 0.87})
    enter(runs, decision="kept")


def test_the_page_is_what_the_ledger_of_the_project_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = ledger_page(read_ledger())
    assert command.PAGE.read_text() == found, "`harness record` writes it anew"
    assert "The record is **" in found


def test_a_try_is_what_its_runs_give(train: Train, runs: Path) -> None:
    train({2: 0.87, 0: 0.85, 1: None})
    train({0: 0.80}, {"epochs": 5})
    document = enter(runs)
    (tried,) = read_ledger()["sgd-ratio"].tries
    assert tried.accuracies == {0: 0.85, 1: 0.1, 2: 0.87}
    assert [run.diverged for run in tried.runs] == [False, True, False]
    (written,) = document["tries"]
    assert (written["n"], written["mean"]) == (3, pytest.approx(1.82 / 3, abs=1e-6))
    assert written["changes"] == "epochs=5, sgd_ratio=16"
    run = tried.runs[0]
    assert (run.hardware, run.commit, run.date) == ("A Processor, 2 cores", "0123456", "2026-11-27")
    page = command.PAGE.read_text()
    assert "0: 0.8500, 1: diverged, 2: 0.8700" in page
    assert "There is no record yet." in page


def test_the_command_of_a_try_trains_its_runs(train: Train, runs: Path) -> None:
    changes = {"epochs": 4, "first_layer": "whitened", "dropout": (0.0, 0.1, 0.0, 0.2), "alternating_flip": True}
    train({3: 0.8}, changes)
    enter(runs, changes)
    (tried,) = read_ledger()["sgd-ratio"].tries
    words = shlex.split(tried.command)
    given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert change(*RECIPES["fast"], read_changes(", ".join(given))) == (tried.config.network, tried.config.recipe)
    assert words[:7] == ["harness", "run", "baseline", "--seeds", "3,", "--split", "tune"]


def test_every_value_of_a_setting_that_varies_is_a_try(train: Train, runs: Path) -> None:
    for ratio in (2.0, 4.0, 8.0):
        train({0: 0.8 + ratio / 1000, 1: 0.8}, TRIED | {"sgd_ratio": ratio})
    train({0: 0.7}, {"epochs": 6})
    enter(runs, {"epochs": 5}, vary=["sgd_ratio"])
    assert seeds() == [[0, 1]] * 3
    page = command.PAGE.read_text()
    assert "control" in page
    assert "+0.30 [" in page, "the difference to `fast` with as many epochs, paired by seed"


def test_rows_are_read_as_folders_are(train: Train, runs: Path, tmp_path: Path) -> None:
    train({0: 0.85, 1: 0.86})
    enter(runs)
    from_folders = read_ledger()
    rows = []
    for folder in runs.iterdir():
        result, environment = (json.loads((folder / f"{name}.json").read_text()) for name in ("result", "environment"))
        spec = RunSpec("baseline", "baseline", "full", "fast", "same recipe", run_at(folder).config)
        rows.append({"run_key": folder.name, "spec": json.loads(spec.to_json()), "result": result, "history": [],
                     "begun": environment["begun"], "ended": environment["begun"],
                     "environment": environment["tags"]})  # fmt: skip
    (ledger.RECORDS / "sgd-ratio.json").unlink()
    file = tmp_path / "runs.jsonl.gz"
    file.write_bytes(gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode()))
    enter(file)
    assert read_ledger() == from_folders


def test_seeds_are_added_and_never_taken_out(train: Train, runs: Path, tmp_path: Path) -> None:
    train({0: 0.85})
    enter(runs)
    train({1: 0.84, 2: 0.86}, to=tmp_path / "more")
    enter(tmp_path / "more", decision="dropped")
    assert seeds() == [[0, 1, 2]]
    enter(runs)
    assert seeds() == [[0, 1, 2]]
    assert read_ledger()["sgd-ratio"].tries[0].decision == "dropped"
    train({0: 0.9}, to=tmp_path / "again")
    with pytest.raises(BadInput, match="the first one counts"):
        enter(tmp_path / "again")


@pytest.mark.parametrize("decision", ["kept", "dropped"])
def test_a_decision_needs_three_seeds(train: Train, runs: Path, decision: str) -> None:
    train({0: 0.85, 1: 0.86})
    with pytest.raises(BadInput, match="has 2 of the 3 seeds"):
        enter(runs, decision=decision)
    assert not read_ledger()


@pytest.mark.usefixtures("kept")
def test_a_look_is_entered_once(train: Train, tmp_path: Path) -> None:
    train(TEN, split="final", to=tmp_path / "look")
    for _ in range(2):
        enter(tmp_path / "look", split="final")
        assert seeds() == [list(range(10, 20)), [0, 1, 2]]
    assert "The record is **5 epochs**." in command.PAGE.read_text()
    train(dict.fromkeys(range(20, 30), 0.87), split="final", to=tmp_path / "second")
    with pytest.raises(BadInput, match="there is no second one"):
        enter(tmp_path / "second", split="final")


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("count", [9, 11])
def test_a_look_has_ten_seeds(train: Train, tmp_path: Path, count: int) -> None:
    train(dict.fromkeys(range(count), 0.87), split="final", to=tmp_path / "look")
    with pytest.raises(BadInput, match=f"has 10 seeds, and here are {count}"):
        enter(tmp_path / "look", split="final")


@pytest.mark.parametrize("decision", [None, "undecided", "dropped"])
def test_a_look_is_at_settings_that_were_kept(train: Train, runs: Path, tmp_path: Path, decision: str | None) -> None:
    train({0: 0.85, 1: 0.86, 2: 0.87})
    if decision:
        enter(runs, decision=decision)
    train(TEN, split="final", to=tmp_path / "look")
    with pytest.raises(BadInput, match="have not been kept"):
        enter(tmp_path / "look", split="final")


def test_a_recipe_may_be_looked_at_as_it_is(train: Train, runs: Path) -> None:
    train(TEN, {}, split="final")
    enter(runs, {}, split="final")
    assert seeds() == [list(range(10, 20))]


@pytest.mark.usefixtures("kept")
def test_what_macos_leaves_beside_a_file_is_none_of_the_ledger() -> None:
    ideas = read_ledger()
    (ledger.RECORDS / "._sgd-ratio.json").write_bytes(b"\0\5\x16\7\xff")
    assert read_ledger() == ideas


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mean": 0.86', '"mean": 0.87'),
        ('"accuracy": 0.87', '"accuracy": 0.88'),
        ('"seed": 2', '"seed": 3'),
        ('"kept"', '"great"'),
        ('sgd_ratio": 16', 'sgd_ratio": 8'),
        ("{", ""),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_file_that_was_changed_by_hand_is_refused(old: str, new: str) -> None:
    file = ledger.RECORDS / "sgd-ratio.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=r"sgd-ratio\.json is no file of the ledger"):
        read_ledger()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sgd-ratio", "--set", "epochs=4"], "No finished run"),
        (["sgd-ratio"], "say what it is with --idea"),
        (["SGD ratio"], "cannot name an idea"),
        (["sgd-ratio", "--vary", "sgd_rato"], "did you mean sgd_ratio"),
        (["sgd-ratio", "--split", "test"], "--split is tune or final"),
        (["sgd-ratio", "--split", "final", "--vary", "epochs"], "leave --vary out"),
        (["sgd-ratio", "--split", "final", "--decision", "kept"], "leave --decision out"),
        (["sgd-ratio", "--decision", "good"], "it is kept, dropped or undecided"),
        (["sgd-ratio", "nowhere", "--idea", "x"], "holds no finished runs"),
    ],
)
def test_what_cannot_be_entered_is_said(train: Train, runs: Path, words: Sequence[str], says: str) -> None:
    train({0: 0.85})
    source = [] if "nowhere" in words else [str(runs)]
    idea = ["--idea", "Other rates."] if "No finished" in says else []
    ended = CliRunner().invoke(app, ["record", words[0], *source, *words[1:], *idea])
    assert isinstance(ended.exception, BadInput)
    assert says in str(ended.exception)


@pytest.mark.parametrize("name", ["result.json", "config.json", "environment.json"])
@pytest.mark.parametrize("change", [("0", "1"), ("{", "["), ("5", "7")])
def test_a_run_whose_file_was_changed_is_named(train: Train, runs: Path, name: str, change: tuple[str, str]) -> None:
    train({0: 0.85})
    file = next(runs.rglob(name))
    file.write_text(file.read_text().replace(*change))
    ended = CliRunner().invoke(app, ["record", "sgd-ratio", str(runs), "--idea", "x", "--set", "epochs=5"])
    assert isinstance(ended.exception, BadInput)
    assert str(file) in str(ended.exception)


def test_the_command_line(train: Train, runs: Path) -> None:
    train({0: 0.85})
    words = ["record", "sgd-ratio", str(runs), "--idea", "Other rates.", "--set", "epochs=5", "--set", "sgd_ratio=16"]
    ended = CliRunner().invoke(app, [*words, "--commit", "abc1234", "--json"])
    assert ended.exit_code == 0, ended.exception
    assert json.loads(ended.stdout)["tries"][0]["runs"][0]["commit"] == "abc1234"
    page = command.PAGE.read_text()
    command.PAGE.unlink()
    assert CliRunner().invoke(app, ["record"]).exit_code == 0
    assert command.PAGE.read_text() == page
