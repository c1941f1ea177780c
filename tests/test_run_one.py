"""How a run is trained, with an engine that computes nothing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mlflow_runs

from harness import experiment, plan
from harness.commands.execution import in_the_terminal
from harness.data import Dataset
from harness.engine.protocol import TrainMetrics
from harness.execute import run_one
from harness.plan import Settings
from harness.runs.folder import RunFolder
from harness.runs.spec import RunSpec
from harness.tracking.recorder import BundleRecorder, MlflowRecorder, Recorder

CPU, OTHER_CPU, GPU, OTHER_GPU = "an abacus", "a slide rule", "a loom", "another loom"


class Idle:
    """An engine whose state is the number of its epochs."""

    device = CPU
    flops_per_image = 1

    def __init__(self) -> None:
        self.trained: list[int] = []
        self.probed = 0

    def initial_state(self) -> dict[str, np.ndarray]:
        return {"model/epochs": np.zeros(())}

    def train_epoch(
        self, state: dict[str, Any], epoch: int, on_step: Callable[[int], None]
    ) -> tuple[dict[str, Any], TrainMetrics]:
        self.trained.append(epoch)
        return {"model/epochs": state["model/epochs"] + 1}, TrainMetrics(1.0, 0.5)

    def evaluate(self, state: dict[str, Any], images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 10), 0.1, np.float32)

    def probe(self, before: dict[str, Any], after: dict[str, Any], epoch: int) -> dict[str, float]:
        self.probed += 1
        return {}


@pytest.fixture
def spec(mlruns: object, digits: Dataset) -> RunSpec:
    return plan.run_specs("ablate_bn", experiment.load("ablate_bn"), digits, Settings(budget="smoke"), [0])[0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Idle:
    engine = Idle()
    monkeypatch.setattr(run_one, "open_engine", lambda config, split: engine)
    return engine


@pytest.mark.parametrize(
    ("phase", "probed"), [("same recipe", True), ("retuned", True), ("tuning", False), ("search", False)]
)
def test_only_what_reports_compare_is_looked_into(
    spec: RunSpec, digits: Dataset, engine: Idle, phase: Any, probed: bool
) -> None:
    run_one.run_one(dataclasses.replace(spec, phase=phase), digits, in_the_terminal(BundleRecorder()))
    assert engine.trained == list(range(spec.config.recipe.epochs))
    assert engine.probed == (len(engine.trained) if probed else 0)


@pytest.mark.parametrize(
    ("before", "now", "starts_over"),
    [
        (GPU, GPU, False),
        (GPU, OTHER_GPU, True),
        (GPU, CPU, True),
        (CPU, GPU, True),
        (CPU, CPU, False),
        (CPU, OTHER_CPU, False),
    ],
)
@pytest.mark.parametrize("recorder", [BundleRecorder(), MlflowRecorder()], ids=["offline", "mlflow"])
def test_an_unfinished_run_goes_on_only_on_the_kind_of_device_that_began_it(
    spec: RunSpec, digits: Dataset, engine: Idle, mlruns: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], before: str, now: str, starts_over: bool, recorder: Recorder,
) -> None:  # fmt: skip
    def move_to(device: str) -> None:
        cpu = device if device in (CPU, OTHER_CPU) else CPU
        monkeypatch.setattr(run_one, "provenance", lambda: {"cpu": cpu})
        engine.device = device

    folder, epochs = RunFolder(spec.config), list(range(spec.config.recipe.epochs))
    move_to(before)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(engine, "train_epoch", killed_at(1, engine.train_epoch))
        run_one.run_one(spec, digits, in_the_terminal(recorder))
    assert engine.trained == epochs[:1]
    move_to(now)
    engine.trained = []
    result = run_one.run_one(spec, digits, in_the_terminal(recorder))
    assert result.status == "finished"
    assert engine.trained == (epochs if starts_over else epochs[1:])
    environments = [each["device"] for each in folder.environments()]
    assert environments == ([now] if starts_over or before == now else [before, now])
    said = capsys.readouterr().err
    assert (f"of another device ({before}) than the one here ({now})" in said) == starts_over
    if not recorder.offline:
        ended = sorted(("superseded" in run.data.tags, run.info.status) for run in mlflow_runs(mlruns))
        assert ended == [(False, "FINISHED"), *([(True, "KILLED")] if starts_over else [])]


def test_a_run_that_has_ended_is_not_trained_again_on_another_device(
    spec: RunSpec, digits: Dataset, engine: Idle
) -> None:
    run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    engine.device, engine.trained = GPU, []
    run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    # Nor if a kill left its record without its end.
    (RunFolder(spec.config).path / "bundle.json").unlink()
    run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    assert not engine.trained


@pytest.fixture
def ended(spec: RunSpec, digits: Dataset, engine: Idle) -> RunFolder:
    """A run that has ended, with an engine that has not been used since."""
    run_one.run_one(spec, digits, in_the_terminal(MlflowRecorder()))
    engine.trained = []
    return RunFolder(spec.config)


@pytest.mark.parametrize(
    ("damaged", "trained"),
    [
        (["result.json"], False),
        (["artifacts/history.json"], False),
        (["result.json", "artifacts/history.json"], False),
        (["environment.json"], False),
        (["artifacts/probabilities.npz"], False),
        (["seal.json"], False),
        (["config.json"], False),
        (["result.json", "checkpoint.npz"], True),
        (["checkpoint.npz"], False),
    ],
)
def test_a_damaged_run_is_named_and_mended_from_what_is_whole_or_trained_again(
    ended: RunFolder, spec: RunSpec, digits: Dataset, engine: Idle, mlruns: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture, damaged: list[str], trained: bool,
) -> None:  # fmt: skip
    before, history = ended.result(), ended.history()
    for name in damaged:
        content = bytearray((ended.path / name).read_bytes())
        content[0 if name == "seal.json" else len(content) // 2] ^= 1
        (ended.path / name).write_bytes(content)
    execution = in_the_terminal(MlflowRecorder())
    assert run_one.is_done(spec, execution.recorder) == (damaged == ["checkpoint.npz"])
    result = run_one.run_one(spec, digits, execution)
    assert engine.trained == (list(range(spec.config.recipe.epochs)) if trained else [])
    assert run_one.is_done(spec, execution.recorder)
    assert before is not None
    if not trained:
        assert (result, ended.history()) == (before, history)
    if damaged != ["checkpoint.npz"]:
        said = capsys.readouterr().err + caplog.text
        assert all(name in said for name in damaged)
    if damaged == ["environment.json"]:
        assert ended.environments() == [{}]
    assert len(mlflow_runs(mlruns)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_an_unfinished_run_whose_environment_is_damaged_goes_on_and_says_so(
    spec: RunSpec, digits: Dataset, engine: Idle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:  # fmt: skip
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(engine, "train_epoch", killed_at(1, engine.train_epoch))
        run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    file = RunFolder(spec.config).path / "environment.json"
    file.write_bytes(content)
    run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    assert engine.trained == list(range(spec.config.recipe.epochs))
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file} cannot be read" in said
    assert "goes on in another environment than it was begun in" in said
    assert RunFolder(spec.config).environments()[0] == {}


def killed_at(epoch: int, train: Callable[..., Any]) -> Callable[..., Any]:
    def train_epoch(state: Any, number: int, on_step: Any) -> Any:
        if number == epoch:
            raise KeyboardInterrupt
        return train(state, number, on_step)

    return train_epoch


def test_a_run_that_goes_on_with_other_threads_says_so(
    spec: RunSpec, digits: Dataset, engine: Idle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_threads(number: str) -> None:
        monkeypatch.setattr(run_one, "computing_threads", lambda config: number)

    with_threads("2")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(engine, "train_epoch", killed_at(1, engine.train_epoch))
        run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    assert "another environment" not in capsys.readouterr().err
    with_threads("1")
    run_one.run_one(spec, digits, in_the_terminal(BundleRecorder()))
    said = " ".join(capsys.readouterr().err.split())
    assert "goes on in another environment than it was begun in (threads 2 -> 1)" in said
    assert [each["threads"] for each in RunFolder(spec.config).environments()] == ["2", "1"]
