"""Bundles of runs that nobody trained, for the tests of their import.

The tests import names of it before pytest takes it as a plugin, and it asserts nothing: PYTEST_DONT_REWRITE.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import data, experiment, plan
from harness.engine.loop import weights_sha256
from harness.plan import Settings
from harness.runs.bundle import Bundle
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import RunSpec
from harness.source_hash import measures_hash

BEGUN = 1_700_000_000_000
STATE = {"model/weight": np.zeros(3, np.float32)}
Make = Callable[..., Path]


def states(found: dict[str, Any]) -> list[str]:
    return [row["status"] for row in found["bundles"]]


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    digits = data.load("digits")
    return plan.run_specs("baseline", experiment.load("baseline"), digits, Settings(budget="smoke"), [0])[0]


@pytest.fixture
def make(mlruns: Path, tmp_path: Path, spec: RunSpec) -> Make:
    """Make the bundle of a run of three epochs that nobody trained; returns its folder."""

    def make(spec: RunSpec = spec, *, seal: bool = True, figure: bool = False, accuracy: float = 0.5) -> Path:
        with pytest.MonkeyPatch.context() as there:
            there.setenv("HARNESS_MLRUNS", str(tmp_path / "bundles"))
            folder = RunFolder(spec.config)
            history: list[dict[str, float]] = []
            with (
                folder.locked(),
                Bundle(folder, spec, {"variant": spec.variant, "device": "abacus"}, "there") as bundle,
            ):
                environment = json.loads((folder.path / "environment.json").read_text())
                (folder.path / "environment.json").write_text(json.dumps(environment | {"begun": BEGUN}))
                bundle.started(history)
                for epoch in (1, 2, 3):
                    row = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "pflop", "epoch_seconds"), 0.5)
                    row |= {"epoch": epoch, "timestamp": BEGUN + 1000 * epoch, "test_accuracy": epoch / 6}
                    history = [*history, row]
                    folder.save(STATE, history)
                    bundle.epoch(row)
                errors = dict.fromkeys("abcdefghij", 0.5)
                metrics = {"accuracy": accuracy, "cross_entropy": 1.0, "training_seconds": 1.5}
                weights, confusion = weights_sha256(STATE), [[1] * 10] * 10
                measured_by = measures_hash("tensorflow")
                result = Result("finished", "", metrics, weights, errors, confusion, measured_by)
                if figure:
                    folder.artifacts.mkdir()
                    (folder.artifacts / "loss.png").write_bytes(b"theirs")
                folder.finish(result, history)
                if seal:
                    bundle.finish(result, history, None, np.zeros(0))
            return folder.path

    return make


@pytest.fixture
def unportrayed(spec: RunSpec) -> RunSpec:
    """The same spec as one whose model is not kept: the bundles here hold no real one."""
    return dataclasses.replace(spec, experiment="ablate_bn")
