"""`harness runs`, `harness export` and `harness.load_runs()`: what is on the disk, as a list, a frame and files."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shown
from report_builders import Lab

import harness
from harness import tracking
from harness.commands import runs as commands_runs
from harness.experiment import Experiment
from harness.runs.folder import RunFolder
from harness.runs.spec import RunResult
from harness.tracking import told
from harness.tracking.mlflow_store import SILENT
from harness.tracking.told import remember

NORMS = Experiment(variants={"no norm": {"normalization": "none"}})


def kept(mlruns: Path) -> list[RunResult]:
    """Four runs on the disk, one of them diverged, and an unfinished one."""
    lab = Lab(NORMS, {"no norm": 0.6}, data="synthetic", diverged=[("no norm", 1)])
    results = lab.under_one_recipe(2)
    for each in results:
        folder = RunFolder(each.spec.config)
        with folder.locked():
            folder.begin(each.spec.tags | {"cpu": "an abacus", "device": "an abacus"}, "there")
            folder.save({"model/kernel": np.zeros(1000)}, each.history)
            folder.finish(each.result, each.history)
    begun = lab.run("baseline", 7, "same recipe")
    with RunFolder(begun.spec.config).locked():
        RunFolder(begun.spec.config).begin(begun.spec.tags, "there")
    return results


def test_runs_are_a_frame(mlruns: Path) -> None:
    assert harness.load_runs().empty
    assert harness.load_epochs().empty
    results = kept(mlruns)
    frame = harness.load_runs().set_index("run_key")
    assert len(frame) == 5
    row = frame.loc[results[0].spec.config.key]
    assert (row["experiment"], row["variant"], row["seed"], row["status"]) == ("ablate_test", "baseline", 0, "finished")
    assert row["accuracy"] == results[0].result.metrics["accuracy"]
    assert row["normalization"] == "batch"
    assert row["dropout"] == "0,0,0,0"
    assert row["stale"]  # of no code that there is
    assert str(row["begun"].tz) == "UTC"
    assert list(frame["status"]).count("diverged") == list(frame["status"]).count("unfinished") == 1
    epochs = harness.load_epochs()
    assert len(epochs) == sum(len(each.history) for each in results)
    assert {"epoch", "test_accuracy", "gradient_norm/dense"} <= set(epochs.columns)


@pytest.mark.parametrize("name", ["environment.json", "config.json", "result.json", "artifacts/history.json"])
def test_a_run_with_a_damaged_file_is_named_and_left_out(
    mlruns: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    results = kept(mlruns)
    file = RunFolder(results[0].spec.config).path / name
    file.unlink()
    os.mkfifo(file)
    assert set(harness.load_runs()["run_key"]).isdisjoint({results[0].spec.config.key})
    assert len(harness.load_runs()) == 4
    assert not harness.load_epochs().empty
    assert str(file) in caplog.text


def test_runs_are_listed_filtered_and_sorted(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "harness run baseline" in shown(capsys, monkeypatch, "runs")[1]
    assert shown(capsys, monkeypatch, "runs", "--where", "variant=baseline")[0] == 0
    results = kept(mlruns)
    text = shown(capsys, monkeypatch, "runs")[1]
    assert all(each.spec.config.key[:8] in text for each in results)
    assert "5 runs" in text
    chosen = ("runs", "--where", "variant=baseline", "--where", "status=finished", "--sort", "-accuracy")
    listed = json.loads(shown(capsys, monkeypatch, *chosen, "--json")[1])["runs"]
    wanted = sorted((each.result.metrics["accuracy"] for each in results[:2]), reverse=True)
    assert [row["accuracy"] for row in listed] == wanted
    nothing = ("runs", "--where", "variant=none", "--where", "status=finished")
    assert json.loads(shown(capsys, monkeypatch, *nothing, "--json")[1])["runs"] == []
    rate = results[0].spec.config.recipe.learning_rate
    read = pd.read_csv(
        io.StringIO(shown(capsys, monkeypatch, "runs", "--where", f"learning_rate={rate:.17f}", "--csv")[1])
    )
    assert len(read) == 5
    for arguments, says in (
        (("--where", "varian=x"), "did you mean variant"),
        (("--where", "variant"), "--where variant"),
        (("--where", "accuracy"), "COLUMN=VALUE"),
        (("--where", "seed=0", "--where", "seed=1"), "--where seed is given twice"),
        (("--csv", "--json"), "give one of them"),
        (("--where", "seed=0", "rm", results[0].spec.config.key, "--yes"), "--where goes with the list"),
        (("--json", "gc"), "--json goes with the list"),
        (("--sort", "acuracy"), "did you mean accuracy"),
    ):
        code, _, errors = shown(capsys, monkeypatch, "runs", *arguments)
        assert code == 2
        assert says in errors
    assert len(harness.load_runs()) == 5


def test_a_run_is_removed_only_when_that_is_wanted(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = kept(mlruns)
    key = first.spec.config.key
    code, _, errors = shown(capsys, monkeypatch, "runs", "rm", key[:10])
    assert code == 2
    assert "--yes" in errors
    assert shown(capsys, monkeypatch, "runs", "rm", "", "--yes")[0] == 2  # the start of all
    with RunFolder(first.spec.config).locked():
        assert shown(capsys, monkeypatch, "runs", "rm", key, "--yes")[0] == 1
    assert shown(capsys, monkeypatch, "runs", "rm", key[:10], "--yes")[0] == 0
    assert key not in set(harness.load_runs()["run_key"])
    *others, last = harness.load_runs()["run_key"]
    assert len(others) == 3
    assert shown(capsys, monkeypatch, "runs", "rm", *others, "--yes")[0] == 0
    # One with a damaged file can be named by its key.
    file = RunFolder(kept(mlruns)[0].spec.config).path / "result.json"
    os.truncate(file, 5)
    assert shown(capsys, monkeypatch, "runs", "rm", file.parent.name, "--yes")[0] == 0
    assert not file.exists()
    assert shown(capsys, monkeypatch, "runs", "rm", *set(harness.load_runs()["run_key"]) - {last}, "--yes")[0] == 0
    # The start of the only one, too: an empty variable of a script.
    assert shown(capsys, monkeypatch, "runs", "rm", "", "--yes")[0] == 2
    assert list(harness.load_runs()["run_key"]) == [last]


def test_checkpoints_go_where_mlflow_has_the_run(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = (each.folder for each in kept(mlruns))
    remember(first, "ab", "1", complete=True)
    monkeypatch.setattr(told, "_has", lambda run_id: run_id == "ab")
    assert "1 checkpoints" in shown(capsys, monkeypatch, "runs", "gc", "--dry-run")[2]
    assert first.load()
    shown(capsys, monkeypatch, "runs", "gc")
    assert first.load() is None
    assert first.result()
    assert first.history()
    assert second.load()


def test_a_checkpoint_stays_until_mlflow_has_the_model_that_is_made_from_it(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept(mlruns)[0].folder
    monkeypatch.setattr(RunFolder, "tags", {"experiment": "baseline", "budget": "quick"})
    remember(first, "ab", "1", complete=True)
    monkeypatch.setattr(told, "_has", lambda run_id: run_id == "ab")
    for has_model in (False, True):
        monkeypatch.setattr(tracking, "has_model", lambda run, if_silent, has_model=has_model: has_model)
        freed = shown(capsys, monkeypatch, "runs", "gc", "--dry-run")[2]
        assert freed.startswith(f"{int(has_model)} checkpoints")


@pytest.mark.parametrize("silent", ["run", "model"])
def test_a_server_that_is_silent_has_nothing_for_which_a_checkpoint_is_deleted(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    first = kept(mlruns)[0].folder
    monkeypatch.setattr(RunFolder, "tags", {"experiment": "baseline", "budget": "quick"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(told, "_seen", {("http://127.0.0.1:9", "ab")} if silent == "model" else set())
    SILENT.add("http://127.0.0.1:9")
    remember(first, "ab", "1", complete=True)
    assert tracking.is_tracked(first)
    code, _, said = shown(capsys, monkeypatch, "runs", "gc")
    assert code == 0
    assert said.startswith("0 checkpoints")
    assert "whether it has 1 runs: their checkpoints stay" in said
    assert first.load()


def test_a_checkpoint_from_which_a_damaged_file_is_mended_stays(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept(mlruns)[0].folder
    remember(first, "ab", "1", complete=True)
    monkeypatch.setattr(told, "_has", lambda run_id: True)
    (first.artifacts / "history.json").write_text("[")
    assert shown(capsys, monkeypatch, "runs", "gc")[2].startswith("0 checkpoints")
    assert first.load()


def test_results_are_taken_elsewhere(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "epochs.parquet"
    code, _, errors = shown(capsys, monkeypatch, "export", "--parquet", str(file))
    assert (code, "no run that has ended" in errors, file.exists()) == (2, True, False)
    kept(mlruns)
    assert shown(capsys, monkeypatch, "export", "--parquet", str(file))[0] == 0
    assert len(pd.read_parquet(file)) == len(harness.load_epochs())
    report = "experiments/results/full/ablate_bn"
    table = tmp_path / "table.tex"
    assert shown(capsys, monkeypatch, "export", "--latex", str(table), "--report", report)[0] == 0
    assert r"no norm & same recipe & 7 & 0.8" in table.read_text()
    assert r"\toprule" in table.read_text()
    for arguments, says in (
        ((), "--keras FILE"),
        (("--latex", str(table)), "There is no table of a report"),
        (("--keras", str(tmp_path / "model.h5")), ".keras"),
        (("--parquet", str(file), "--run", "3f9a"), "--run goes with --keras or --card"),
        (("--parquet", str(file), "--report", report), "--report goes with --latex"),
    ):
        code, _, errors = shown(capsys, monkeypatch, "export", *arguments)
        assert code == 2
        assert says in errors
    for option, more in (("--parquet", ()), ("--latex", ("--report", report))):
        code, _, errors = shown(capsys, monkeypatch, "export", option, str(tmp_path), *more)
        assert (code, f"{tmp_path} could not be written" in " ".join(errors.split())) == (2, True)


def test_the_newest_report_is_one_of_an_experiment(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report, other = mlruns / "reports" / "a", mlruns / "reports" / "b"
    shutil.copytree("experiments/results/full/ablate_bn", report)
    other.mkdir()
    (other / "table.csv").write_text("group,n,mean\nsgd,4,0.8\n")
    assert str(report) in shown(capsys, monkeypatch, "export", "--latex", str(tmp_path / "t.tex"))[2].replace("\n", "")


@pytest.mark.parametrize(
    "content", [b"", b"variant\n\xff", b"group,n\nsgd,4\n", b"variant,phase,n,accuracy_mean\na,b,1,c\n"]
)
def test_a_table_that_is_not_that_of_a_report_is_refused(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    file = tmp_path / "t.tex"
    code, _, errors = shown(capsys, monkeypatch, "export", "--latex", str(file), "--report", str(tmp_path))
    assert (code, "table.csv is no table of an" in " ".join(errors.split()), file.exists()) == (2, True, False)


def test_numbers_in_latex_are_those_of_the_terminal(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ["accuracy_mean", *(f"against_baseline_{name}" for name in ("mean", "interval_low", "p_holm"))]
    rows = ["baseline,same recipe,7,0.63825,,,", "50 %,same recipe,7,0.5,-0.04,-0.1,1e-9"]
    (tmp_path / "table.csv").write_text("\n".join([f"variant,phase,n,{','.join(columns)}", *rows]))
    file = tmp_path / "t.tex"
    assert shown(capsys, monkeypatch, "export", "--latex", str(file), "--report", str(tmp_path))[0] == 0
    assert r"baseline & same recipe & 7 & 0.6383 & -- & -- & -- \\" in file.read_text()
    assert r"50 \% & same recipe & 7 & 0.5000 & -4.00 & -10.00 & $<$0.001 \\" in file.read_text()


def test_checkpoints_of_a_folder_that_is_read_only_are_not_said_to_be_freed(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_runs, "is_read_only", lambda: True)
    code, _, errors = shown(capsys, monkeypatch, "runs", "gc")
    assert (code, "is read-only" in " ".join(errors.split())) == (1, True)


def test_a_shell_completes_the_experiments(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_HARNESS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "harness run ablate_s")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert shown(capsys, monkeypatch)[1].split() == ["ablate_scaling"]
