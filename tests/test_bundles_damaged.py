"""Damage to bundles and to the runs that they become: mended from what is whole, never by other bits."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from bundle_fixtures import STATE, Make, states
from test_run_one import Idle

from harness.commands.execution import in_the_terminal
from harness.commands.sync import sync
from harness.data import Dataset
from harness.execute import run_one
from harness.runs.bundle import read_bundle
from harness.runs.folder import RunFolder
from harness.runs.spec import RunSpec
from harness.tracking.recorder import BundleRecorder

pytest_plugins = "bundle_fixtures"


@pytest.mark.parametrize(
    "name",
    ["bundle.json", "spec.json", "metrics.jsonl", "environment.json", "config.json", "result.json", "checkpoint.npz"],
)
@pytest.mark.parametrize("damage", ["halved", "lost"])
def test_a_damaged_bundle_is_sealed_anew_by_its_command(
    spec: RunSpec, digits: Dataset, mlruns: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    """It would be refused on its arrival, when the machine that made it may be gone."""
    engine = Idle()
    monkeypatch.setattr(run_one, "open_engine", lambda config, split: engine)
    execution = in_the_terminal(BundleRecorder())
    result, folder = run_one.run_one(spec, digits, execution), RunFolder(spec.config)
    ended = read_bundle(folder.path).ended
    assert run_one.is_done(spec, execution.recorder)
    if damage == "lost":
        (folder.path / name).unlink()
    else:
        halve(folder.path / name)
    if (damage, name) != ("lost", "checkpoint.npz"):  # which may be left out of a bundle
        assert not run_one.is_done(spec, execution.recorder)
    engine.trained = []
    assert run_one.run_one(spec, digits, execution) == result
    assert not engine.trained
    assert run_one.is_done(spec, execution.recorder)
    sealed = read_bundle(folder.path)
    assert sealed.result == result
    # When the run ended, not when the bundle was sealed again.
    assert sealed.ended == ended or name == "result.json"


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("lost", "kept"),
    [
        (["artifacts/loss.png"], True),
        (["result.json"], True),
        (["artifacts/loss.png", "checkpoint.npz"], True),
        (["result.json", "checkpoint.npz"], False),
    ],
)
def test_a_run_of_this_machine_is_not_replaced_because_a_file_is_damaged(
    make: Make, tmp_path: Path, unportrayed: RunSpec, lost: list[str], kept: bool
) -> None:
    """Its own command makes the file again; the bundle has other bits."""
    sealed, folder = read_bundle(make(unportrayed)), RunFolder(unportrayed.config)
    result = dataclasses.replace(sealed.result, weights_sha256="0" * 64, metrics={"accuracy": 0.85})
    with folder.locked():
        folder.begin({"device": "here"}, "here")
        folder.save(STATE, sealed.history)
        folder.artifacts.mkdir()
        (folder.artifacts / "loss.png").write_bytes(b"ours")
        folder.finish(result, sealed.history)
    for name in lost:
        (folder.path / name).write_bytes(b"") if name == "result.json" else (folder.path / name).unlink()
    (row,) = sync(tmp_path / "bundles")["bundles"]
    if kept:
        assert row["status"] == "known"
        assert f"{folder.path / lost[0]} cannot be read" in row["reason"]
        assert folder.checkpoint.exists() == ("checkpoint.npz" not in lost)
        assert "result.json" in lost or folder.result() == result
    else:
        assert (row["status"], folder.result()) == ("imported", sealed.result)


@pytest.mark.parametrize("damaged", [None, "artifacts/loss.png"])
def test_an_imported_run_is_not_changed_by_a_bundle_with_other_bits(
    make: Make, mlruns: Path, tmp_path: Path, unportrayed: RunSpec, damaged: str | None
) -> None:
    """Neither its files nor, if it came without one, its checkpoint."""
    other = make(unportrayed, accuracy=0.6)
    shutil.move(other, tmp_path / "others" / other.name)
    (make(unportrayed, figure=True) / "checkpoint.npz").unlink()
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    folder = RunFolder(unportrayed.config)
    if damaged:
        (folder.path / damaged).unlink()
    (row,) = sync(tmp_path / "others")["bundles"]
    assert row["status"] == "known"
    assert (damaged or "") in row["reason"]
    result = folder.result()
    assert result
    assert result.metrics["accuracy"] == 0.5
    assert not folder.checkpoint.exists()
    # The bundle that it came in mends it.
    assert states(sync(tmp_path / "bundles")) == ["imported" if damaged else "known"]
    assert not folder.damage()


@pytest.mark.parametrize("name", ["bundle.json", "spec.json", "metrics.jsonl", "checkpoint.npz"])
def test_an_imported_run_that_is_damaged_where_mlflow_lost_it_is_mended_by_its_bundle(
    make: Make, tmp_path: Path, unportrayed: RunSpec, name: str
) -> None:
    path = make(unportrayed)
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    folder = RunFolder(unportrayed.config)
    halve(folder.path / name)
    (folder.path / "mlflow.json").unlink()
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    assert (folder.path / name).read_bytes() == (path / name).read_bytes()
