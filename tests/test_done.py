"""A run is done when all of it is there: looked at, not remembered."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import finished, mlflow_runs
from test_run_one import Idle

from harness import experiment, plan
from harness.commands import predict
from harness.commands.execution import in_the_terminal
from harness.commands.run import Job
from harness.common.errors import HarnessError
from harness.data import Dataset
from harness.engine.backend import import_keras
from harness.execute import ended, pool, run_one
from harness.plan import Settings
from harness.run_options import RunOptions
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import RunSpec
from harness.tracking.recorder import MlflowRecorder

import_keras("tensorflow")


class Exporting(Idle):
    """An engine that trains nothing, and whose model is a small one."""

    def export(self, state: dict[str, Any]) -> Any:
        import keras

        return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])


@pytest.fixture
def spec(mlruns: Path, digits: Dataset) -> RunSpec:
    return plan.run_specs("baseline", experiment.load("baseline"), digits, Settings(budget="smoke"), [0])[0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Exporting:
    engine = Exporting()
    monkeypatch.setattr(run_one, "open_engine", lambda config, split: engine)
    monkeypatch.setattr(ended.engine_state, "export", lambda config, pixels, state: engine.export(state))
    return engine


def train(spec: RunSpec, digits: Dataset) -> None:
    run_one.run_one(spec, digits, dataclasses.replace(in_the_terminal(MlflowRecorder()), draw=lambda *run: None))


def is_done(spec: RunSpec) -> bool:
    return run_one.is_done(spec, MlflowRecorder())


def the_model(mlruns: Path, spec: RunSpec) -> Path:
    (file,) = mlruns.glob("artifacts/digits/models/*/artifacts/data/model.keras")
    return file


def test_a_model_whose_logging_was_cut_off_is_made_by_the_same_command(
    spec: RunSpec, digits: Dataset, engine: Exporting, mlruns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow says that the run has a model before the model's files are there."""
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr("mlflow.tracking.MlflowClient.log_model_artifacts", interrupt)
        train(spec, digits)
    assert mlflow_runs(mlruns)[0].outputs.model_outputs
    assert not is_done(spec)
    engine.trained = []
    train(spec, digits)
    assert is_done(spec)
    assert not engine.trained
    assert the_model(mlruns, spec)
    assert len(mlflow_runs(mlruns)[0].outputs.model_outputs) == 1


@pytest.mark.parametrize("lost", ["folder", "file", "content"])
def test_a_model_that_was_lost_later_is_made_again(
    spec: RunSpec, digits: Dataset, engine: Exporting, mlruns: Path, lost: str
) -> None:
    train(spec, digits)
    assert is_done(spec)
    file = the_model(mlruns, spec)
    if lost == "folder":
        shutil.rmtree(file.parent.parent)
    elif lost == "file":
        file.unlink()
    else:
        os.truncate(file, 0)
    assert not is_done(spec)
    engine.trained = []
    train(spec, digits)
    assert is_done(spec)
    assert not engine.trained
    (run,) = mlflow_runs(mlruns)
    assert len(run.outputs.model_outputs) == 1
    assert predict.load_model(None)[2] is not None


def test_a_run_that_another_experiment_trained_without_keeping_its_model_gets_one(
    spec: RunSpec, digits: Dataset, engine: Exporting, mlruns: Path
) -> None:
    other = dataclasses.replace(spec, experiment="ablate_bn")
    train(other, digits)
    assert is_done(other)
    assert not is_done(spec)
    train(spec, digits)
    assert is_done(spec)
    assert the_model(mlruns, spec)
    assert engine.trained == list(range(spec.config.recipe.epochs))


def test_without_a_checkpoint_to_make_a_model_from_a_run_is_done(
    spec: RunSpec, digits: Dataset, engine: Exporting
) -> None:
    train(dataclasses.replace(spec, experiment="ablate_bn"), digits)
    (RunFolder(spec.config).path / "checkpoint.npz").unlink()
    assert is_done(spec)


def test_a_fresh_start_that_is_killed_leaves_one_record_that_is_not_superseded(
    spec: RunSpec, digits: Dataset, engine: Exporting, mlruns: Path
) -> None:
    spec = dataclasses.replace(spec, experiment="ablate_bn")
    train(spec, digits)
    # Killed at each of its steps in turn.
    for step in ("RunFolder.reopen", "RunFolder.clear"):
        program = (
            "import os, signal, sys; from harness.runs import folder, spec; from harness.execute.run_one import forget;"
            "from harness.tracking.recorder import MlflowRecorder;"
            f"folder.{step} = lambda self: os.kill(os.getpid(), signal.SIGKILL);"
            "forget(spec.run_spec_from_json(sys.argv[1]), MlflowRecorder())"
        )
        killed = subprocess.run([sys.executable, "-c", program, spec.to_json()], check=False)
        assert killed.returncode == -signal.SIGKILL
        train(spec, digits)
        assert is_done(spec)
        assert sum("superseded" not in run.data.tags for run in mlflow_runs(mlruns)) == 1


@pytest.mark.parametrize("seeds", ["1", "2"])
@pytest.mark.parametrize(
    ("lacks", "says"), [("end", "no artifacts, please"), ("model", "its record lacks its end or its model")]
)
def test_a_record_that_cannot_be_completed_ends_the_command_with_the_reason(
    mlruns: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch, seeds: str, lacks: str, says: str
) -> None:
    """Such as on a server that takes metrics and no artifacts. The results are kept."""
    calls: list[RunSpec] = []

    def run(spec: RunSpec, *arguments: object, **options: object) -> Result:
        calls.append(spec)
        result, folder = finished(), RunFolder(spec.config)
        with folder.locked():
            folder.save({}, [])
            folder.finish(result, [])
        if lacks == "end":
            raise HarnessError(says)
        return result

    monkeypatch.setattr(pool, "run_one", run)
    monkeypatch.setattr(MlflowRecorder, "is_complete", lambda self, folder: lacks != "end")
    monkeypatch.setattr(MlflowRecorder, "has_model", lambda self, folder: False)
    job = Job(
        RunOptions(experiments=["baseline"], budget="smoke", seeds=seeds, data="digits", workers=1), MlflowRecorder()
    )
    with pytest.raises(HarnessError, match=says):
        job.train()
    assert len(calls) == int(seeds)
    assert all(RunFolder(spec.config).result() for spec in calls)


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt
