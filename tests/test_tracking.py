"""MLflow is a view of the run on disk: complete, without doubles, with no run left running."""

import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import metric_history, mlflow_runs, small_config

from harness.common import paths
from harness.common import process as liveness
from harness.common import signals as interrupts
from harness.common.errors import BadInput, HarnessError
from harness.metrics import FINAL, PER_EPOCH
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.tracking import Tracker, database, is_tracked, mark_dead_runs, open_mlflow, supersede, told
from harness.tracking import mlflow_store as store
from harness.tracking.recorder import MlflowRecorder

ROWS = [
    {"epoch": e, "timestamp": 1000 * e, "train_loss": 2.0 / e, "train_accuracy": 0.1 * e, "test_loss": 1.0 / e}
    for e in (1, 2, 3)
]


def tracker() -> Tracker:
    return Tracker(RunFolder(small_config()), "baseline seed 0", {"variant": "baseline"}, "nowhere")


def test_what_a_killed_process_did_not_log_is_logged_once(mlruns: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracker() as first:
        first.started([])
        first.epoch(ROWS[0])
        raise KeyboardInterrupt
    (run,) = mlflow_runs(mlruns)
    assert run.info.status == "KILLED"
    with tracker() as second:
        second.started(ROWS[:2])
        second.epoch(ROWS[2])
    (run,) = mlflow_runs(mlruns)
    assert second.run_id == run.info.run_id
    for name in ("train_loss", "test_loss"):
        assert metric_history(mlruns, run.info.run_id, name) == [(row["epoch"], row[name]) for row in ROWS]


RESULT = Result("finished", "", {"accuracy": 0.5}, "ab", {"cat": 0.5}, [[1, 0], [0, 1]])


@pytest.mark.parametrize("uri", ["file:/tmp/there", "file:///tmp/there", "/tmp/there", "./mlruns"])
def test_a_folder_as_tracking_uri_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadInput, match=r"names a folder.*sqlite:///"):
        MlflowRecorder()


def test_the_mlflow_json_of_another_run_is_not_taken_for_ones_own(mlruns: Path) -> None:
    first, second = RunFolder(small_config()), RunFolder(small_config(seed=1))
    told.remember(first, "ab", "1", complete=True)
    second.path.mkdir(parents=True)
    shutil.copy(first.path / "mlflow.json", second.path)
    assert told.run_id(first) == "ab"
    assert told.run_id(second) == ""


@pytest.mark.parametrize(
    "step", ["set_tag", "log_params", "log_dict", "log_input", "log_metrics", "log_artifacts", "end_run"]
)
def test_wherever_mlflow_fails_the_next_call_makes_the_record_whole(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = RunFolder(small_config())
    folder.artifacts.mkdir(parents=True)
    monkeypatch.setattr(Tracker, "_log_model", lambda *arguments: None)

    def whole_run() -> None:
        with tracker() as run:
            run.started(ROWS)
            run.finish(RESULT, ROWS, None, np.zeros(0))

    mlflow = open_mlflow()
    with monkeypatch.context() as broken:

        def fail(*arguments: object, **settings: object) -> None:
            raise OSError("no space left on device")

        broken.setattr(mlflow, step, fail)
        with pytest.raises(HarnessError, match="no space left on device"):
            whole_run()
        assert not is_tracked(folder)
    mlflow.end_run("KILLED")  # as the next process would find it
    whole_run()
    assert is_tracked(folder)
    (run,) = mlflow_runs(mlruns)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.02"
    assert "reason" not in run.data.tags
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["synthetic"]
    assert metric_history(mlruns, run.info.run_id, "train_loss") == [(row["epoch"], row["train_loss"]) for row in ROWS]
    assert metric_history(mlruns, run.info.run_id, "accuracy") == [(3, 0.5)]


def test_a_signal_while_the_run_is_opened_ends_it_as_killed(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Tracker._start_run

    def interrupted(self: Tracker) -> None:
        opened(self)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Tracker, "_start_run", interrupted)
    before = signal.signal(signal.SIGTERM, interrupts._interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), tracker() as run:
            run.started([])
    finally:
        signal.signal(signal.SIGTERM, before)
    (run,) = mlflow_runs(mlruns)
    assert run.info.status == "KILLED"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_run_that_ends_at_its_first_step_is_seen_in_mlflow(
    mlruns: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error, match="the first step"), tracker() as run:
        run.started([])
        raise error("the first step")
    (found,) = mlflow_runs(mlruns)
    assert found.info.status == status


@pytest.mark.parametrize("uri", ["nonsense://here", "http://127.0.0.1:9"])
def test_an_mlflow_that_does_not_answer_is_refused_before_the_first_step(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(HarnessError, match=f"{uri} did not answer as it should"), tracker() as run:
        run.started([])
        pytest.fail("the training is not to begin")


def test_a_database_of_another_version_of_mlflow_is_refused_before_the_first_step(mlruns: Path) -> None:
    database.create()
    with contextlib.closing(sqlite3.connect(mlruns / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
        connection.commit()
    with pytest.raises(HarnessError, match=r"another version of MLflow.*mlflow db upgrade 'sqlite"), tracker() as run:
        run.started([])
        pytest.fail("the training is not to begin")


def test_artifacts_lie_in_mlruns_wherever_the_command_is_given(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    tracked_whole()
    (run,) = mlflow_runs(mlruns)
    assert Path(run.info.artifact_uri).is_relative_to(mlruns / "artifacts")
    assert (Path(run.info.artifact_uri) / "config.json").is_file()


def tracked_whole() -> None:
    with tracker() as run:
        run.started(ROWS)
        run.finish(RESULT, ROWS, None, np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("lost", ["mlflow.db", "mlflow.json"])
def test_what_mlflow_has_lost_it_is_told_again(mlruns: Path, lost: str) -> None:
    folder = RunFolder(small_config())
    folder.artifacts.mkdir(parents=True)
    # In a process of its own: MLflow would hold on to the database.
    first = multiprocessing.get_context("spawn").Process(target=tracked_whole)
    first.start()
    first.join(300)
    assert is_tracked(folder)
    if lost == "mlflow.db":
        (mlruns / lost).unlink()
    else:
        (folder.path / lost).write_text("{")
    assert not is_tracked(folder)
    open_mlflow()
    assert not is_tracked(folder)
    tracked_whole()
    assert is_tracked(folder)
    (run,) = mlflow_runs(mlruns)
    assert (run.info.status, run.data.metrics["train_loss"]) == ("FINISHED", ROWS[-1]["train_loss"])


HALF_WRITTEN = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that it writes before the transaction ends
connection.execute("BEGIN")
connection.execute("UPDATE experiments SET name = 'half written'")
connection.executemany("INSERT INTO experiment_tags VALUES (?, 'x', 0)", [(f"tag {n}",) for n in range(9999)])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("read_only", [False, True])
def test_what_a_killed_process_had_half_written_is_taken_back(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    database.create()
    subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(mlruns / "mlflow.db")])
    assert (mlruns / "mlflow.db-journal").stat().st_size
    monkeypatch.setattr(paths, "is_read_only", lambda: read_only)
    assert not database.has_ended("none")
    assert [each.name for each in open_mlflow().search_experiments()] == ["Default"]
    assert (mlruns / "mlflow.db-journal").exists() == read_only


def test_a_write_ahead_log_of_a_lost_database_is_not_written_into_the_new_one(mlruns: Path) -> None:
    lost = sqlite3.connect(mlruns / "mlflow.db")
    lost.execute("PRAGMA journal_mode = wal")
    lost.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('of the lost one', 'active')")
    lost.commit()
    log = (mlruns / "mlflow.db-wal").read_bytes()
    lost.close()
    (mlruns / "mlflow.db").unlink()
    (mlruns / "mlflow.db-wal").write_bytes(log)  # as after a kill
    database.create()
    with sqlite3.connect(mlruns / "mlflow.db") as new:
        assert new.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert new.execute("SELECT name FROM experiments").fetchall() == [("Default",)]


def test_what_is_no_server_of_mlflows_is_taken_to_have_what_it_was_told(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a page to sign in, or another program at the same port: its answers are not even of the protocol."""
    folder = RunFolder(small_config())
    folder.path.mkdir(parents=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(told, "_seen", set())
    told.remember(folder, "ab", "1", complete=True)
    client = types.SimpleNamespace(get_run=lambda run_id: int("no answer"))
    monkeypatch.setattr(told, "open_mlflow", lambda: types.SimpleNamespace(MlflowClient=lambda: client))
    assert is_tracked(folder)


def test_a_request_that_fails_is_heard_of_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    assert not store.import_mlflow().environment_variables.MLFLOW_ENABLE_ASYNC_LOGGING.get()


def test_a_run_that_mlflow_collected_is_told_again_and_one_deleted_on_purpose_is_not(mlruns: Path) -> None:
    folder = RunFolder(small_config())
    folder.artifacts.mkdir(parents=True)
    tracked_whole()
    (run,) = mlflow_runs(mlruns)
    client = open_mlflow().MlflowClient()
    client.delete_run(run.info.run_id)
    assert is_tracked(folder)
    # What `mlflow gc` does, and what is left of a database that was restored from an older copy.
    client._tracking_client.store._hard_delete_run(run.info.run_id)
    assert not is_tracked(folder)
    tracked_whole()
    assert is_tracked(folder)
    assert len(mlflow_runs(mlruns)) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_that_an_older_copy_of_the_database_has_without_its_end_is_told_again(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    if shared:  # a database by another name is asked as a server is
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{mlruns}/../mlruns/mlflow.db")
    monkeypatch.setattr(told, "_seen", set())
    folder = RunFolder(small_config())
    folder.artifacts.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), tracker() as first:
        first.started(ROWS[:1])
        raise KeyboardInterrupt
    # As mlflow.json says after the end of the run, which came later than the copy was made.
    told.remember(folder, first.run_id, first.experiment_id, complete=True)
    assert not is_tracked(folder)
    tracked_whole()
    assert is_tracked(folder)
    # So ends the run of a trial that was pruned: it is whole.
    open_mlflow().MlflowClient().set_terminated(first.run_id, "KILLED")
    monkeypatch.setattr(told, "_seen", set())
    assert is_tracked(folder)


def test_a_database_that_was_emptied_is_made_anew(mlruns: Path) -> None:
    (mlruns / "mlflow.db").write_bytes(b"")
    RunFolder(small_config()).artifacts.mkdir(parents=True)
    tracked_whole()
    assert is_tracked(RunFolder(small_config()))


def test_a_run_is_its_own_whatever_run_the_environment_names(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_mlflow().MlflowClient()
    experiment = client.create_experiment("somebody's")
    theirs = client.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    RunFolder(small_config()).artifacts.mkdir(parents=True)
    tracked_whole()
    assert client.get_run(theirs).info.status == "RUNNING"
    assert client.get_run(theirs).data.tags.keys() == {"mlflow.runName"}
    assert len(mlflow_runs(mlruns)) == 2


def test_two_machines_have_a_run_each_of_one_key(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server, here the database of the one under another name; the folders may be at the same path."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{mlruns}/../mlruns/mlflow.db")
    ids = []
    for machine in ("m1", "m2", "m1"):
        monkeypatch.setattr("socket.gethostname", lambda machine=machine: machine)
        shutil.rmtree(mlruns / "runs", ignore_errors=True)  # also mlflow.json, as if a kill had come before it
        with tracker() as run:
            run.started([])
            run.epoch(ROWS[0])
        ids.append(run.run_id)
    assert ids[0] == ids[2] != ids[1]
    # A clone of a machine that has another mlruns/ is another one too.
    (mlruns / "id").unlink()
    shutil.rmtree(mlruns / "runs")
    with tracker() as run:
        run.started([])
        run.epoch(ROWS[0])
    assert run.run_id not in ids


def test_a_creation_whose_answer_is_lost_leaves_one_run(mlruns: Path) -> None:
    client = open_mlflow().MlflowClient()
    ask = client._tracking_client.store.create_run

    def ask_twice(*arguments: Any, **settings: Any) -> Any:
        ask(*arguments, **settings)
        return ask(*arguments, **settings)

    with pytest.MonkeyPatch.context() as lossy:
        lossy.setattr(type(client._tracking_client.store), "create_run", lambda self, *a, **s: ask_twice(*a, **s))
        with tracker() as run:
            run.started([])
            run.epoch(ROWS[0])
    (found,) = mlflow_runs(mlruns)
    assert found.info.run_id == run.run_id


def test_a_moved_folder_takes_its_records_along(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunFolder(small_config()).artifacts.mkdir(parents=True)
    # In a process of its own: MLflow remembers where the artifacts of a run are.
    first = multiprocessing.get_context("spawn").Process(target=tracked_whole)
    first.start()
    first.join(300)
    registry = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{mlruns / 'mlflow.db'}")
    registry.create_registered_model("registered")
    registry.create_model_version("registered", str(mlruns / "artifacts" / "synthetic" / "models" / "m-1"))
    mlruns.rename(tmp_path / "moved #1")
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path / "moved #1"))
    assert is_tracked(RunFolder(small_config()))
    mlflow = open_mlflow()
    (run,) = mlflow_runs(tmp_path / "moved #1")
    assert Path(run.info.artifact_uri).is_relative_to(tmp_path / "moved #1")
    assert (Path(run.info.artifact_uri) / "config.json").is_file()
    registered = mlflow.MlflowClient().get_model_version_download_uri("registered", "1")
    assert Path(registered) == tmp_path / "moved #1" / "artifacts" / "synthetic" / "models" / "m-1"
    # The artifacts of somebody's own experiment stay where they are.
    (tmp_path / "artifacts" / "own").mkdir(parents=True)
    mlflow.create_experiment("own", artifact_location=str(tmp_path / "artifacts" / "own"))
    open_mlflow()
    assert mlflow.get_experiment_by_name("own").artifact_location == str(tmp_path / "artifacts" / "own")
    with tracker() as again:
        again.started([])
        again.epoch(ROWS[0])
    assert again.run_id == run.info.run_id
    assert not mlruns.exists()


def test_a_moved_folder_that_is_read_only_is_read(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder(small_config()).artifacts.mkdir(parents=True)
    first = multiprocessing.get_context("spawn").Process(target=tracked_whole)
    first.start()
    first.join(300)
    mounted = tmp_path / "mounted"
    mlruns.rename(mounted)
    monkeypatch.setenv("HARNESS_MLRUNS", str(mounted))
    monkeypatch.setattr(paths, "is_read_only", lambda: True)
    before = (mounted / "mlflow.db").read_bytes()
    found = open_mlflow().MlflowClient().get_run(told.run_id(RunFolder(small_config())))
    assert (mounted / "artifacts") in Path(found.info.artifact_uri).parents
    assert is_tracked(RunFolder(small_config()))
    assert (mounted / "mlflow.db").read_bytes() == before


def test_a_run_that_was_taken_for_dead_ends_as_it_did(mlruns: Path) -> None:
    RunFolder(small_config()).artifacts.mkdir(parents=True)
    with tracker() as run:
        run.started(ROWS)
        run.epoch(ROWS[2])
        client = run.mlflow.MlflowClient()
        client.set_tag(run.run_id, "reason", "its process died")
        client.set_terminated(run.run_id, "KILLED")
        run.finish(RESULT, ROWS, None, np.zeros((1, 32, 32, 3), np.uint8))
    (found,) = mlflow_runs(mlruns)
    assert found.info.status == "FINISHED"
    assert "reason" not in found.data.tags


def test_mlflow_json_has_neither_a_place_nor_a_password(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(small_config())
    folder.path.mkdir(parents=True)
    # As earlier versions wrote it.
    file = folder.path / "mlflow.json"
    entry = {"run_id": "a", "experiment_id": "1", "complete": True, "seconds": 1.0}
    file.write_text(json.dumps({"sqlite:////old/place/mlruns/mlflow.db": entry, "http://me:secret@host": entry}))
    assert told.run_id(folder) == "a"
    told.remember(folder, "b", "1", complete=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:another@host")
    assert told.run_url(folder) == "http://host/#/experiments/1/runs/a"
    assert json.loads(file.read_text()).keys() == {"mlruns/mlflow.db", "http://host"}


@pytest.mark.parametrize("content", ["{", "[]", '{"mlruns/mlflow.db": {"run_id": 3}}', "[" * 100_000, "\udcff"])
def test_a_damaged_mlflow_json_is_as_none(mlruns: Path, content: str) -> None:
    folder = RunFolder(small_config())
    folder.path.mkdir(parents=True)
    (folder.path / "mlflow.json").write_bytes(content.encode(errors="surrogateescape"))
    assert (told.run_id(folder), told.seconds(folder), told.run_url(folder), is_tracked(folder)) == (
        "",
        None,
        "",
        False,
    )


def test_fresh_leaves_the_old_record_and_begins_another(mlruns: Path) -> None:
    with tracker() as first:
        first.started(ROWS)
    supersede(RunFolder(small_config()))
    with tracker() as second:
        second.started(ROWS[:1])
    old, new = sorted(mlflow_runs(mlruns), key=lambda run: run.info.run_id == second.run_id)
    assert old.data.tags["superseded"] == "true"
    assert "superseded" not in new.data.tags
    assert len(metric_history(mlruns, old.info.run_id, "train_loss")) == 3


def test_a_dead_process_is_found_and_a_living_one_left_alone(mlruns: Path) -> None:
    mlflow = open_mlflow()
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("e")
    alive = liveness.signs_of_life()
    mine, me = alive["machine"], alive["process"]
    start = me.partition("@")[2]
    cases = {
        "mine": ({"machine": mine, "process": me}, "RUNNING"),
        "gone": ({"machine": mine, "process": f"999999@{start}"}, "KILLED"),
        "number used again": ({"machine": mine, "process": f"{os.getpid()}@1@{start.partition('@')[2]}"}, "KILLED"),
        "elsewhere, heard of": ({"machine": "other", "process": "1@1.00", "heartbeat": "9999999999"}, "RUNNING"),
        "elsewhere, silent": ({"machine": "other", "process": "1@1.00", "heartbeat": "1"}, "KILLED"),
    }
    ids = {
        name: client.create_run(experiment, tags=tags | {"run_key": name}).info.run_id
        for name, (tags, _) in cases.items()
    }
    cases["somebody else's"] = ({}, "RUNNING")
    tags = {"host": mine, "process": "train"}
    ids["somebody else's"] = client.create_run(experiment, tags=tags).info.run_id
    mark_dead_runs(mlflow)
    assert {name: client.get_run(i).info.status for name, i in ids.items()} == {n: s for n, (_, s) in cases.items()}


def test_a_locked_database_is_explained(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 1)
    with pytest.raises(HarnessError, match=r"mlflow\.db.*safe in"), tracker() as run:
        lock = sqlite3.connect(mlruns / "mlflow.db", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        released = threading.Timer(60, lock.close)
        try:
            run.epoch(ROWS[0])
        finally:
            released.cancel()
            lock.close()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_four_processes_may_open_a_missing_database_together(tmp_path: Path) -> None:
    environment = os.environ | {"HARNESS_MLRUNS": str(tmp_path)}
    code = "from harness.tracking import open_mlflow; open_mlflow().search_experiments()"
    children = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4


def test_the_published_curve_is_imported_once(mlruns: Path) -> None:
    mlflow = open_mlflow()
    ids = {store.choose_experiment(mlflow, "cifar10-jpeg75") for _ in range(2)}
    (experiment,) = ids
    (run,) = mlflow.MlflowClient().search_runs([experiment], "tags.variant = 'published'")
    assert len(metric_history(mlruns, run.info.run_id, "test_accuracy")) == 200
    digits = store.choose_experiment(mlflow, "digits")
    assert mlflow.MlflowClient().search_runs([digits]) == []


def test_metrics_are_declared_once() -> None:
    assert not PER_EPOCH.keys() & FINAL.keys()
    assert all(metric.meaning for metric in (PER_EPOCH | FINAL).values())
