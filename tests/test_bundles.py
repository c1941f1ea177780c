"""Bundles: valid after a kill, imported once with their own times, refused by name where damaged or foreign."""

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from bundle_fixtures import BEGUN, STATE, Make, states
from conftest import Command, command, document, mlflow_runs

from harness import data, experiment, plan
from harness.cli.app import main
from harness.commands import spec_list as spec_list
from harness.commands.execution import in_the_terminal
from harness.commands.sync import sync
from harness.common.errors import BadInput, HarnessError
from harness.engine.loop import weights_sha256
from harness.execute import ended as imported
from harness.execute import pool, run_one
from harness.plan import Settings
from harness.runs.bundle import read_bundle
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import RunSpec
from harness.tracking.recorder import BundleRecorder, MlflowRecorder

pytest_plugins = "bundle_fixtures"


def test_a_bundle_becomes_a_run_with_its_own_times(
    make: Make, mlruns: Path, tmp_path: Path, unportrayed: RunSpec
) -> None:
    path = make(unportrayed)
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    folder = RunFolder(unportrayed.config)
    assert folder.path != path
    result = folder.result()
    assert result is not None
    assert result.metrics["accuracy"] == 0.5
    (run,) = mlflow_runs(mlruns)
    assert (run.info.status, run.info.start_time) == ("FINISHED", BEGUN)
    assert run.info.end_time == json.loads((path / "bundle.json").read_text())["ended"]
    assert run.data.tags["device"] == "abacus"
    assert run.data.tags["run_key"] == unportrayed.config.key
    assert run.data.metrics["test_accuracy"] == 0.5
    # Again changes nothing, and neither does a part of the import done twice.
    assert states(sync(tmp_path / "bundles")) == ["known"]
    (folder.path / "mlflow.json").unlink()
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    (same,) = mlflow_runs(mlruns)
    assert (same.info.run_id, same.info.end_time) == (run.info.run_id, run.info.end_time)


@pytest.mark.parametrize("figure", [False, True])
def test_the_import_draws_the_figures_that_a_bundle_does_not_bring(
    make: Make, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: bool
) -> None:
    """Bundles of earlier versions bring theirs, and their seal holds them."""
    (make(figure=figure) / "checkpoint.npz").unlink()
    drawn: list[str] = []

    def draw(folder: RunFolder, name: str, *run: object) -> None:
        drawn.append(name)
        (folder.artifacts / "loss.png").write_bytes(b"ours")

    monkeypatch.setattr("harness.commands.sync.draw", draw)
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    assert drawn == ([] if figure else [spec.name])
    assert read_bundle(RunFolder(spec.config).path).result.status == "finished"


def test_a_bundle_with_other_bits_than_the_run_here_is_told(make: Make, tmp_path: Path, unportrayed: RunSpec) -> None:
    """The number of threads is not in the run key, and changes the last bits."""
    make(unportrayed)
    sync(tmp_path / "bundles")
    assert sync(tmp_path / "bundles")["bundles"][0]["reason"] == ""
    folder = RunFolder(unportrayed.config)
    result = folder.result()
    assert result
    with folder.locked():
        history = folder.history()
        folder.reopen()
        folder.begin({"device": "abacus", "threads": "2"}, "here")
        folder.finish(dataclasses.replace(result, weights_sha256="0" * 64), history)
    (row,) = sync(tmp_path / "bundles")["bundles"]
    assert row["status"] == "known"
    assert "are not those of the run here (threads 2 here, none there)" in row["reason"]
    assert folder.result() != result


def test_a_bundle_may_travel_without_its_checkpoint(make: Make, tmp_path: Path, unportrayed: RunSpec) -> None:
    """It may follow: the run then has what its model is made from."""
    path, folder = make(unportrayed), RunFolder(unportrayed.config)
    later = (path / "checkpoint.npz").rename(tmp_path / "later.npz")
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    assert folder.load() is None
    shutil.copy(later, path / "checkpoint.npz")
    sync(tmp_path / "bundles")
    assert folder.load() is not None
    assert states(sync(tmp_path / "bundles")) == ["known"]


def test_what_is_damaged_or_foreign_is_refused_by_name_and_the_others_go_in(
    make: Make, tmp_path: Path, unportrayed: RunSpec
) -> None:
    def other(seed: int, **changes: str) -> RunSpec:
        return dataclasses.replace(
            unportrayed, config=dataclasses.replace(unportrayed.config, seed=seed, **changes)  # type: ignore[arg-type]
        )  # fmt: skip

    good = make(unportrayed)
    damaged, cut, unfinished = make(other(1)), make(other(2)), make(other(3), seal=False)
    (damaged / "metrics.jsonl").write_text("{}\n")
    (cut / "result.json").unlink()
    code, images = make(other(4, source="0" * 12)), make(other(5, data_fingerprint="1" * 64))
    renamed = damaged.with_name("0123456789abcdef")
    shutil.copytree(good, renamed)
    found = {Path(row["bundle"]): row for row in sync(tmp_path / "bundles")["bundles"]}
    assert found[good]["status"] == "imported"
    assert found[unfinished]["status"] == "unfinished"
    for path, says in {
        damaged: "metrics.jsonl is not what it was",
        cut: "no whole bundle",
        code: "is not the code that planned",
        images: "are not those",
        renamed: "under another name",
    }.items():
        assert found[path]["status"] == "refused"
        assert says in found[path]["reason"]
    rows = [row for row in found.values() if row["status"] == "refused"]
    assert all(row["bundle"] in row["reason"] or row["name"] in row["reason"] for row in rows)


@pytest.mark.parametrize("name", ["../../mlflow.db", "/etc/passwd", "mlflow.json", "artifacts/../../lock"])
def test_a_seal_that_names_files_of_others_is_refused(make: Make, unportrayed: RunSpec, name: str) -> None:
    path = make(unportrayed)
    seal = json.loads((path / "bundle.json").read_text())
    seal["files"][name] = "0" * 64
    (path / "bundle.json").write_text(json.dumps(seal))
    with pytest.raises(BadInput, match="no whole bundle"):
        read_bundle(path)


def test_a_seal_that_a_kill_cut_short_is_written_anew(make: Make, unportrayed: RunSpec) -> None:
    path = make(unportrayed, seal=False)
    for name in ("bundle.json", "metrics.jsonl", "artifacts/history.json"):
        (path / f"{name}.new").write_text("{")
    make(unportrayed)
    assert not any(name.endswith(".new") for name in read_bundle(path).files)


def test_an_import_that_is_cut_off_anywhere_is_made_whole_by_the_next(
    make: Make, mlruns: Path, tmp_path: Path, unportrayed: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = len(read_bundle(make(unportrayed)).files) + 1
    folder = RunFolder(unportrayed.config)
    for after in range(files):
        copied = iter(range(files))

        def copy(source: IO[bytes], target: IO[bytes], after: int = after, copied: Any = copied) -> None:
            if next(copied) == after:
                target.write(source.read()[:7])
                raise KeyboardInterrupt
            target.write(source.read())

        with monkeypatch.context() as patched:
            patched.setattr(imported.shutil, "copyfileobj", copy)
            with pytest.raises(KeyboardInterrupt):
                sync(tmp_path / "bundles")
        assert folder.result() is None
    assert states(sync(tmp_path / "bundles")) == ["imported"]
    assert read_bundle(folder.path).result == folder.result()


def test_what_mlflow_was_not_told_of_a_bundle_is_told_and_not_computed(
    make: Make, mlruns: Path, tmp_path: Path, unportrayed: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(unportrayed)
    with monkeypatch.context() as patched:
        patched.setattr("harness.commands.sync.record_ended", lambda *arguments: None)
        sync(tmp_path / "bundles")
    monkeypatch.setattr(run_one, "open_engine", lambda *arguments: pytest.fail("nothing is left to compute"))
    result = run_one.run_one(unportrayed, data.load("digits"), in_the_terminal(MlflowRecorder()))
    assert result.weights_sha256 == weights_sha256(STATE)
    (run,) = mlflow_runs(mlruns)
    assert (run.info.start_time, run.data.tags["device"]) == (BEGUN, "abacus")


def test_bundles_of_two_data_sets_are_each_held_to_their_own(
    make: Make, tmp_path: Path, unportrayed: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(unportrayed.config, data="cifar10-00000000", data_fingerprint="2" * 64)
    make(unportrayed)
    make(dataclasses.replace(unportrayed, config=config))
    digits = data.load("digits")
    other = dataclasses.replace(digits, name="cifar10-00000000", fingerprint="2" * 64)
    monkeypatch.setattr("harness.commands.sync.data.load_named", lambda name: digits if name == "digits" else other)
    assert states(sync(tmp_path / "bundles")) == ["imported", "imported"]


def test_where_there_is_no_bundle_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--offline DIR"):
        sync(tmp_path)


def test_a_bundle_of_another_format_is_refused(make: Make, unportrayed: RunSpec) -> None:
    path = make(unportrayed)
    seal = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(seal | {"format": 2}))
    with pytest.raises(BadInput, match="format 2"):
        read_bundle(path)


def test_a_list_of_cells_is_read_as_it_was_written(tmp_path: Path, spec: RunSpec) -> None:
    file = tmp_path / "specs.json"
    assert spec_list.write(file, [spec, spec]) == 1
    assert spec_list.read(file) == [spec]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda whole: whole["specs"][0]["config"].update(colour="red"), "colour"),
        (lambda whole: whole["specs"][0].update(shape="round"), "shape"),
        (lambda whole: whole["specs"][0]["config"]["recipe"].pop("epochs"), "epochs"),
        (lambda whole: whole["specs"][0]["config"]["recipe"].update(epochs=0), "epochs=0"),
        (lambda whole: whole["specs"][0]["config"].update(precision="float64"), "float64"),
        (lambda whole: whole["specs"][0]["config"].update(seed="x"), "seed"),
        (lambda whole: whole["specs"][0]["config"]["network"].update(activation="foo"), "activation"),
        (lambda whole: whole.update(format=7), "format 7"),
        (lambda whole: whole.update(specs=5), "harness plan"),
        (lambda whole: whole.pop("specs"), "harness plan"),
    ],
)
def test_a_list_of_cells_that_does_not_fit_is_refused(
    tmp_path: Path, spec: RunSpec, change: Callable[[Any], None], says: str
) -> None:
    file = tmp_path / "specs.json"
    spec_list.write(file, [spec])
    whole = json.loads(file.read_text())
    change(whole)
    file.write_text(json.dumps(whole))
    with pytest.raises(BadInput, match=says):
        spec_list.read(file)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["baseline", "--budget", "smoke", "--data", "digits", "--offline", "DIR", "--workers", "2"], "--workers"),
        (["--specs", "FILE", "--offline", "DIR", "--workers", "2"], "--workers"),
        (["--specs", "FILE", "--dry-run"], "--dry-run does not go with --specs"),
        (["--specs", "FILE", "--set", "epochs=2"], "--set does not go with --specs"),
        (["--specs", "FILE", "baseline"], "either experiments"),
        (["--specs", "EMPTY"], "lists no run"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    mlruns: Path, tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], words: list[str], says: str,
) -> None:  # fmt: skip
    spec_list.write(tmp_path / "FILE", [spec])
    spec_list.write(tmp_path / "EMPTY", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["harness", "run", *words])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_list_goes_seed_by_seed_and_on_after_runs_that_fail_or_diverge(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = plan.run_specs(
        "ablate_bn", experiment.load("ablate_bn"), data.load("digits"), Settings(budget="smoke"), [0, 1]
    )
    trained: list[RunSpec] = []

    def run(spec: RunSpec, *arguments: object) -> Result:
        trained.append(spec)
        if len(trained) == 2:
            raise RuntimeError("no memory")
        result = Result("diverged", "the loss was nan", {}, "", {}, [])
        folder = RunFolder(spec.config)
        with folder.locked():
            folder.finish(result, [])
        return result

    monkeypatch.setattr(pool, "run_one", run)
    monkeypatch.setattr(BundleRecorder, "is_complete", lambda self, folder: True)
    with pytest.raises(HarnessError, match=r"1 of 8 runs are not done:\n.*no memory") as failed:
        pool.train_all(norms, data.load("digits"), in_the_terminal(BundleRecorder()))
    assert trained[1].name in str(failed.value)
    assert "no memory" in (RunFolder(trained[1].config).path / "error.txt").read_text()
    assert [spec.config.seed for spec in trained] == [0] * 4 + [1] * 4
    assert [spec.variant for spec in trained[:4]] == [spec.variant for spec in trained[4:]]


@pytest.mark.parametrize("seeds", [1, 2])
def test_runs_that_diverge_are_results_of_a_list(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: int
) -> None:
    digits, smoke = data.load("digits"), Settings(budget="smoke", changes={"learning_rate": 1e30, "warmup": 0.0})
    specs = plan.run_specs("baseline", experiment.load("baseline"), digits, smoke, list(range(seeds)))
    spec_list.write(tmp_path / "specs.json", specs)
    words = ["run", "--specs", str(tmp_path / "specs.json"), "--offline", str(tmp_path / "bundles"), "--json"]
    monkeypatch.setattr("sys.argv", ["harness", *words])
    with pytest.raises(SystemExit) as exit:
        main()
    assert not exit.value.code
    assert [run["status"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["diverged"] * seeds


def test_a_kill_leaves_a_bundle_that_is_gone_on_with(harness: Command, mlruns: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    # Enough epochs to be killed between two.
    more = ("--set", "epochs=12", "--no-probe", "--offline", str(bundles))
    words = ("run", "baseline", "--budget", "smoke", "--data", "digits", *more)
    process = subprocess.Popen(command(*words), env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        lines = [file.read_text().count("\n") for file in bundles.glob("runs/*/metrics.jsonl")]
        if lines and lines[0] >= 2:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert process.returncode == -9
    (metrics,) = bundles.glob("runs/*/metrics.jsonl")
    # What a kill in the middle of a line leaves.
    with open(metrics, "a") as file:
        file.write('{"epoch": 3, "tes')
    assert states(sync(bundles)) == ["unfinished"]
    whole = harness(*words)
    assert whole.returncode == 0, whole.stderr
    assert "a bundle, for `harness sync`" in whole.stdout
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 3
    # Where it was trained nothing is drawn, and no outputs are kept.
    assert [file.name for file in bundles.rglob("artifacts/*")] == ["history.json"]
    assert states(document(harness("sync", str(bundles), "--json"))) == ["imported"]
    (run,) = mlflow_runs(mlruns)
    assert run.info.start_time < rows[0]["timestamp"]
    figures = {file.name for file in mlruns.glob("runs/*/artifacts/*.png")}
    assert figures == {"accuracy.png", "loss.png", "confusion.png"}
    # The model came along, and classifies.
    assert run.outputs.model_outputs
