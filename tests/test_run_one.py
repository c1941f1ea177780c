"""How a run is trained, with an engine that computes nothing."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness import data, experiment, plan
from harness.commands.execution import in_the_terminal
from harness.data import Dataset
from harness.engine.protocol import TrainMetrics
from harness.execute import run_one
from harness.plan import Settings
from harness.runs.spec import RunSpec
from harness.tracking.recorder import BundleRecorder


class Idle:
    """An engine whose state is the number of its epochs."""

    device = "an abacus"
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

    def probe(self, before: dict[str, Any], after: dict[str, Any], steps: int) -> dict[str, float]:
        self.probed += 1
        return {}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


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
