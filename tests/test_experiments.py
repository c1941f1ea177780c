"""Every file of experiments/ says what it must, fits together, and runs; workers may die meanwhile."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import SMALL_RECIPE, Command, command, document, finished, mlflow_runs, small_config

from harness import experiment, plan
from harness.commands.run import Job
from harness.common.errors import BadInput
from harness.common.paths import PROJECT
from harness.config import RunConfig
from harness.data import digits
from harness.experiment import Experiment, Prediction, factorial
from harness.metrics import INSIDE
from harness.plan import Settings
from harness.run_options import RunOptions
from harness.runs.folder import RunFolder
from harness.tracking.recorder import MlflowRecorder

ALL = experiment.names()


@pytest.mark.parametrize("name", ALL)
def test_every_experiment_states_its_question_its_prediction_and_its_command(name: str) -> None:
    declared = experiment.load(name)
    text = importlib.import_module(f"experiments.{name}").__doc__
    assert declared.question.endswith("?")
    assert "Prediction, written before the run:" in text
    assert "make " in text or f"harness run {name}" in text
    assert set(declared.mechanism) <= set(INSIDE)
    assert bool(declared.variants) == bool(declared.predictions) == (name != "baseline")


def test_a_factorial_experiment_has_every_combination() -> None:
    made = factorial({"a": ("activation", "tanh"), "b": ("flip", False), "c": ("shift", 0)})
    assert len(made.all_variants) == 8
    assert made.variants["no a + no c"] == {"activation": "tanh", "shift": 0}


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (Experiment(variants={"one": {"shift": 1}, "other": {"shift": 1}}), "alike"),
        (Experiment(variants={"no change": {"activation": "relu"}}), "alike"),
        (Experiment(variants={"one": {"shift": 1}}, mechanism=("gradient_norms",)), "'gradient_norms'"),
        (Experiment(variants={"one": {"shift": 1}}, predictions=(Prediction("three", "worse"),)), "'three'"),
        (Experiment(variants={"one": {"shifts": 1}}), "did you mean shift"),
    ],
)
def test_an_experiment_that_contradicts_itself_is_refused(declared: Experiment, says: str, monkeypatch) -> None:
    monkeypatch.setattr(importlib.import_module("experiments.baseline"), "experiment", declared)
    with pytest.raises(BadInput, match=says):
        experiment.load("baseline")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, to write experiments into."""
    for folder in ("harness", "experiments", "tests"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=500)


def test_the_skeleton_of_an_experiment_passes_all_tests_and_runs(mlruns: Path, copy: Path) -> None:
    written = python(copy, "-m", "harness", "new", "ablate_kind")
    assert written.returncode == 0, written.stderr
    again = python(copy, "-m", "harness", "new", "ablate_kind")
    assert again.returncode == 2
    assert "is there already" in " ".join(again.stderr.split())
    for check in (
        ("ruff", "check", "experiments"),
        ("ruff", "format", "--check", "experiments"),
        ("pytest", "-n", "0", "tests/test_experiments.py", "-k", "every_experiment_states or share"),
    ):
        checked = python(copy, "-m", *check)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    arguments = ("run", "ablate_kind", "--budget", "smoke", "--data", "digits", "--no-probe", "--json")
    report = document(python(copy, "-m", "harness", *arguments))
    assert [row["variant"] for row in report["variants"]] == ["baseline", "no norm"]
    assert report["question"] == "What does kind do?"


def test_only_what_declares_an_experiment_is_one_and_a_broken_file_is_named(mlruns: Path, copy: Path) -> None:
    (copy / "experiments" / "common.py").write_text('NORMS = {"no norm": {"normalization": "none"}}\n')
    (copy / "experiments" / "search_less.py").write_text(
        '"""Is a name no declaration?"""\nfrom experiments.common import NORMS\n'
        "from harness.experiment import Experiment\nexperiment: Experiment = Experiment(variants=NORMS)\n"
    )
    (copy / "experiments" / "wider.py").write_text(
        '"""Wider?"""\nfrom experiments.search import search\nsearch = search\n'
    )
    (copy / "experiments" / "broken.py").write_text(
        '"""Broken?"""\nimport nowhere\nexperiment = nowhere.Experiment()\n'
    )
    (copy / "experiments" / "unfinished.py").write_text("experiment = (\n")
    listed = python(copy, "-c", "from harness import experiment as e; print(*e.names(), '|', *e.search_names())")
    names, _, searches = listed.stdout.partition("|")
    assert names.split() == sorted([*ALL, "broken", "search_less"]), listed.stderr
    assert searches.split() == ["search", "wider"]
    shown = python(copy, "-m", "harness", "run", "--help").stdout
    assert "search_less: Is a name no declaration?" in shown
    for name, says in (
        ("broken", "experiments/broken.py does not import (ModuleNotFoundError: No module named 'nowhere')"),
        ("unfinished", "experiments/unfinished.py does not import (SyntaxError"),
        ("common", "experiments/common.py declares no experiment"),
        ("search", "experiments/search.py declares no experiment"),
        ("comon", "There is no experiment called 'comon'"),
    ):
        for asks in ("run", "compare") if name != "comon" else ("run",):
            asked = python(copy, "-m", "harness", asks, name, "--budget", "smoke", "--data", "digits")
            assert asked.returncode == 2, asked.stderr
            assert says in " ".join(asked.stderr.split())
    fine = python(copy, "-m", "harness", "run", "search_less", "--budget", "smoke", "--data", "digits", "--dry-run")
    assert fine.returncode == 0, fine.stderr


def test_all_experiments_share_the_baseline_s_runs() -> None:
    dataset = digits()
    keys = {
        name: {c.config.key for c in plan.run_specs(name, experiment.load(name), dataset, Settings("smoke"), [0, 1])}
        for name in ALL
    }
    assert len(keys["baseline"]) == 2
    assert all(keys["baseline"] <= own for own in keys.values())
    assert keys["factorial"] & keys["ablate_bn"] > keys["baseline"]


def test_a_variant_that_is_the_baseline_under_a_recipe_is_left_out(
    mlruns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def variants(name: str, recipe: str, **changes: str) -> set[str]:
        options = RunOptions(experiments=[name], budget="smoke", recipe=recipe, data="digits", changes=changes)
        job = Job(options, MlflowRecorder())
        keys = {spec.variant: spec.config.key for spec in job.specs[name]}
        assert len(set(keys.values())) == len(keys)
        assert {p.variant for p in job.experiments[name].predictions} <= set(keys)
        return set(keys) - {"baseline"}

    assert variants("ablate_order", "fast") == {"norm after"}
    assert "ablate_order without norm before:" in capsys.readouterr().err
    assert variants("ablate_order", "published") == {"norm before"}
    assert "0.5" in variants("ablate_dropout", "fast")
    assert "0.5" not in variants("ablate_dropout", "published")
    # A factorial design with a combination missing is none.
    assert len(variants("factorial", "fast", activation="sigmoid")) == 3
    with pytest.raises(BadInput, match="ablate_scaling has nothing to compare"):
        variants("ablate_scaling", "fast", input_scaling="raw")


def test_a_budget_or_another_recipe_makes_other_runs_and_a_retuned_one_may_be_the_same() -> None:
    dataset, declared = digits(), experiment.load("ablate_order")
    settings = Settings("smoke")
    same = plan.run_specs("ablate_order", declared, dataset, settings, [0])
    factors = {"baseline": 1.0, "norm after": 3.0, "norm before": 1.0}
    retuned = plan.retuned_specs("ablate_order", declared, factors, dataset, settings, [0])
    assert same[0].config.key == retuned[0].config.key
    assert same[1].config.recipe.learning_rate * 3 == pytest.approx(retuned[1].config.recipe.learning_rate)


@pytest.mark.slow
def test_every_experiment_runs(harness: Command, mlruns: Path) -> None:
    # Without probes, which have tests of their own: compiling them takes as long as all else.
    arguments = ("run", *ALL, "--budget", "smoke", "--no-probe", "--json")
    answers = document(harness(*arguments))["experiments"]
    assert [answer["experiment"] for answer in answers] == ALL
    for answer in answers:
        assert answer["missing"] == 0
        assert all(run["status"] in ("finished", "diverged") for run in answer["runs"])
        # With one seed nothing is decided, and that is said.
        compared = [row["against_baseline"] for row in answer["variants"] if row["against_baseline"]]
        assert all(each["verdict"] == "too few seeds" for each in compared)


def test_a_killed_worker_loses_nothing_and_a_second_call_trains_nothing(mlruns: Path, harness: Command) -> None:
    arguments = ("run", "ablate_order", "--budget", "smoke", "--seeds", "2", "--workers", "2", "--json")
    parent = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    workers: set[int] = set()
    while parent.poll() is None and not workers:
        # Kill a worker that is in the middle of a spec.
        workers = {int(file.read_text().split()[1]) for file in mlruns.glob("runs/*/holder")} - {parent.pid}
        time.sleep(0.05)
    os.kill(min(workers), signal.SIGKILL)
    stdout, stderr = parent.communicate(timeout=400)
    assert parent.returncode == 0, stderr
    answer = json.loads(stdout)
    assert len({run["run_key"] for run in answer["runs"] if run["status"] == "finished"}) == 4
    assert {run.info.status for run in mlflow_runs(mlruns)} == {"FINISHED"}
    specs = [run.data.tags["run_key"] for run in mlflow_runs(mlruns) if "run_key" in run.data.tags]
    assert len(specs) == len(set(specs)) == 4
    again = document(harness(*arguments))
    assert not any(run["trained"] for run in again["runs"])
    assert {r["run_key"]: r["weights_sha256"] for r in again["runs"]} == {
        r["run_key"]: r["weights_sha256"] for r in answer["runs"]
    }


def test_ctrl_c_ends_the_workers_too(mlruns: Path) -> None:
    arguments = ("run", "ablate_order", "--budget", "smoke", "--seeds", "4", "--workers", "2")
    parent = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True)
    while parent.poll() is None and not list(mlruns.glob("runs/*/holder")):
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    os.killpg(parent.pid, signal.SIGINT)
    _, stderr = parent.communicate(timeout=120)
    assert parent.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not {run.info.status for run in mlflow_runs(mlruns)} & {"RUNNING"}
    assert not psutil.wait_procs(workers, timeout=5)[1]


def stored(config: RunConfig, accuracy: float) -> str:
    folder, row = RunFolder(config), {"epoch": 1, "timestamp": 0, "test_accuracy": accuracy, "pflop": 0.1}
    with folder.locked():
        folder.finish(finished(accuracy), [row])
    return config.key


def test_runs_are_compared_by_their_keys_and_different_ones_are_refused(mlruns: Path, harness: Command) -> None:
    keys = [stored(small_config(seed=seed), 0.5 + 0.01 * seed) for seed in range(2)]
    recipe = dataclasses.replace(SMALL_RECIPE, shift=0)
    keys += [stored(small_config(recipe, seed=seed), 0.4 + 0.02 * seed) for seed in range(2)]
    compared = document(harness("compare", *(key[:8] for key in keys), "--json"))
    assert [row["variant"] for row in compared["variants"]] == ["baseline", "shift=0"]
    other = stored(dataclasses.replace(small_config(), split="tune"), 0.5)
    refused = harness("compare", keys[0], other)
    assert refused.returncode == 2
    assert "differ in split" in " ".join(refused.stderr.split())
    alone = harness("compare", keys[0], keys[3])
    assert alone.returncode == 2
    assert "have the seeds 1, those they are compared with 0" in " ".join(alone.stderr.split())


def test_a_prediction_for_a_recipe_takes_the_place_of_the_others_there(mlruns: Path) -> None:
    general, own = Prediction("no norm", "worse", by=0.2), Prediction("no norm", "stuck", recipe="classic")
    experiment = Experiment(variants={"no norm": {"normalization": "none"}}, predictions=(general, own))
    assert experiment.under("fast").predictions == (general,)
    assert experiment.under("classic").predictions == (own,)
    job = Job(RunOptions(experiments=["factorial"], budget="smoke", recipe="classic", data="digits"), MlflowRecorder())
    assert {each.recipe for each in job.experiments["factorial"].predictions} == {"classic"}


@pytest.mark.parametrize(("direction", "by"), [("equivalent", 0.005), ("worse", -0.01)])
def test_a_prediction_that_says_nothing_takes_no_size(direction: str, by: float) -> None:
    declared = Experiment(
        variants={"v": {"activation": "tanh"}},
        predictions=(Prediction("v", direction, by=by),),  # type: ignore[arg-type]
    )
    with pytest.raises(BadInput, match="least size of a difference"):
        experiment._check("e", declared)
