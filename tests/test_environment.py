"""Where a run was trained is recorded beside it, and pairs of runs from unlike places are told."""

import dataclasses
import json
from pathlib import Path

from conftest import small_config

from harness.analysis.make_report import make_report
from harness.experiment import Experiment
from harness.reporting.sentences import reservations
from harness.runs.folder import ENVIRONMENT, Result, RunFolder
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.provenance import provenance

HERE = {"cpu": "an abacus, 2 cores", "threads": "2", "version_numpy": "2.0", "git_commit": "abc"}


def test_an_environment_that_changes_nothing_is_one(mlruns: Path) -> None:
    folder = RunFolder(small_config())
    assert folder.environments() == []
    folder.begin(HERE, "there")
    folder.begin(HERE | {"git_commit": "def"}, "there")
    assert folder.environments() == [{"cpu": "an abacus, 2 cores", "threads": "2", "version_numpy": "2.0"}]


def test_a_run_that_goes_on_elsewhere_has_both_and_its_first_beginning(mlruns: Path) -> None:
    folder = RunFolder(small_config())
    folder.begin(HERE, "there")
    begun = json.loads((folder.path / ENVIRONMENT).read_text())["begun"]
    folder.begin(HERE | {"threads": "1"}, "there")
    assert [each["threads"] for each in folder.environments()] == ["2", "1"]
    assert json.loads((folder.path / ENVIRONMENT).read_text())["begun"] == begun


def test_what_changes_numbers_is_told(monkeypatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert "TF_ENABLE_ONEDNN_OPTS=0" in provenance()["switches"]
    assert int(provenance()["threads"]) >= 1


def test_pairs_of_unlike_environments_are_counted_and_told(mlruns: Path) -> None:
    def run(variant: str, seed: int, accuracy: float, environment: dict[str, str]) -> RunResult:
        network = dataclasses.replace(small_config().network, activation="relu" if variant == "baseline" else "tanh")
        spec = RunSpec("e", variant, "quick", "fast", "same recipe", small_config(network=network, seed=seed))
        folder = RunFolder(spec.config)
        folder.begin(environment, "there")
        metrics = {"accuracy": accuracy, "cross_entropy": 1.0, "training_seconds": 1.0}
        return RunResult(spec, folder, Result("finished", "", metrics, "", {}, []), [])

    elsewhere = HERE | {"cpu": "another one, 2 cores"}
    results = [run("baseline", seed, 0.5, HERE) for seed in range(3)]
    results += [run("tanh", seed, 0.4, HERE if seed else elsewhere) for seed in range(3)]
    report = make_report(Experiment(variants={"tanh": {"activation": "tanh"}}), results)
    assert [row.unlike_pairs for row in report.variants] == [0, 1]
    assert any("in 1 of 3 pairs" in said for said in reservations(report))
