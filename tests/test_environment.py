"""Where a run was trained is recorded beside it, and pairs of runs from unlike places are told."""

import dataclasses
import json
from pathlib import Path

import pytest
from conftest import small_config

from harness.analysis.make_report import make_report
from harness.experiment import Experiment
from harness.reporting.sentences import reservations
from harness.runs.folder import ENVIRONMENT, Result, RunFolder
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.provenance import provenance

HERE = {"cpu": "an abacus, 2 cores", "threads": "2", "version_numpy": "2.0", "git_commit": "abc"}
ELSEWHERE = HERE | {"cpu": "another one, 2 cores"}
TANH = Experiment(variants={"tanh": {"activation": "tanh"}})


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


def test_git_is_asked_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    known = provenance()
    monkeypatch.setattr("subprocess.run", lambda *arguments, **options: pytest.fail("a run of a list costs no process"))
    assert provenance() == known


def run(variant: str, seed: int, *environments: dict[str, str]) -> RunResult:
    """A run that was begun in the first of these environments, and went on in the others."""
    network = dataclasses.replace(small_config().network, activation="relu" if variant == "baseline" else "tanh")
    spec = RunSpec("e", variant, "quick", "fast", "same recipe", small_config(network=network, seed=seed))
    folder = RunFolder(spec.config)
    for environment in environments:
        folder.begin(environment, "there")
    metrics = {"accuracy": 0.5, "cross_entropy": 1.0, "training_seconds": 1.0}
    return RunResult(spec, folder, Result("finished", "", metrics, "", {}, []), [])


@pytest.mark.parametrize(
    ("ours", "theirs", "unlike"),
    [
        ([HERE], [HERE], 0),
        ([ELSEWHERE], [HERE], 1),
        ([HERE], [HERE, ELSEWHERE], 1),
        # It is not known in which epoch each of the two went on.
        ([HERE, ELSEWHERE], [HERE, ELSEWHERE], 1),
        # Nothing was recorded of one of them, or of both.
        ([HERE], [], 0),
        ([], [HERE], 0),
        ([], [], 0),
    ],
)
def test_an_unlike_pair(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ours: list[dict[str, str]],
    theirs: list[dict[str, str]],
    unlike: int,
) -> None:
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path))
    report = make_report(TANH, [run("baseline", 0, *theirs), run("tanh", 0, *ours)])
    assert [row.unlike_pairs for row in report.variants] == [0, unlike]


def test_pairs_of_unlike_environments_are_counted_and_told(mlruns: Path) -> None:
    results = [run("baseline", seed, HERE) for seed in range(3)]
    results += [run("tanh", seed, HERE if seed else ELSEWHERE) for seed in range(3)]
    report = make_report(TANH, results)
    assert [row.unlike_pairs for row in report.variants] == [0, 1]
    assert any("in 1 of 3 pairs" in said for said in reservations(report))
