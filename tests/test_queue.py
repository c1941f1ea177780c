"""No spec is lost and none is counted twice, whoever dies."""

import dataclasses
import errno
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from conftest import finished, small_config
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from harness.commands import worker
from harness.commands.worker import work
from harness.common.errors import BadInput, HarnessError
from harness.common.process import identity
from harness.execute import queue_database, worker_loop
from harness.execute import work_queue as queue
from harness.execute.pool import study_name
from harness.runs.spec import RunSpec

RESULT = finished()


def spec(seed: int) -> RunSpec:
    return RunSpec("e", "baseline", "smoke", "fast", "same recipe", small_config(seed=seed))


def states(study) -> dict[TrialState, list[str]]:
    found: dict[TrialState, list[str]] = {}
    for trial in study.get_trials():
        found.setdefault(trial.state, []).append(trial.user_attrs["run_key"])
    return found


def elsewhere(code: str) -> int:
    """Run code in a process of its own and return its exit code.

    Not by a fork: that copies the locks which other threads hold at that moment, and waits for them for ever.
    """
    imports = "import os\nfrom harness.execute import work_queue as queue, worker_loop\n"
    imports += "from harness.runs.spec import run_spec_from_json\n"
    return subprocess.run([sys.executable, "-c", imports + code], timeout=120).returncode


def test_a_cell_survives_its_way_through_the_queue() -> None:
    from harness.runs.spec import run_spec_from_json

    assert run_spec_from_json(spec(3).to_json()) == spec(3)


def test_cells_are_queued_once_and_trained_once(mlruns: Path) -> None:
    study = queue.open_study("s")
    specs = [spec(seed) for seed in range(4)]
    queue.enqueue(study, specs[:3])
    queue.enqueue(queue.open_study("s"), specs)
    trained = []
    worker_loop.work([study], lambda c: trained.append(c) or 0.5)
    assert trained == specs
    assert states(study) == {TrialState.COMPLETE: [c.config.key for c in specs]}
    worker_loop.work([study], lambda c: pytest.fail("nothing waits any more"))


def test_a_cell_that_fails_stops_no_other_and_its_reason_is_kept(mlruns: Path) -> None:
    study = queue.open_study("s")
    specs = [spec(seed) for seed in range(3)]
    queue.enqueue(study, specs)

    def train(c: RunSpec) -> float:
        if c == specs[1]:
            raise ValueError("no room for it")
        return 0.5

    worker_loop.work([study], train)
    assert states(study)[TrialState.FAIL] == [specs[1].config.key]
    assert len(states(study)[TrialState.COMPLETE]) == 2
    assert queue.failures([study]) == {specs[1].config.key: "no room for it"}
    queue.enqueue(study, [specs[1]])
    assert states(study)[TrialState.WAITING] == [specs[1].config.key]
    worker_loop.work([study], lambda c: 0.5)
    assert queue.failures([study]) == {}


def test_the_cell_of_a_dead_worker_waits_again(mlruns: Path) -> None:
    study = queue.open_study("s")
    specs = [spec(0), spec(1)]
    queue.enqueue(study, specs)
    # A worker that dies while it trains.
    assert elsewhere("worker_loop.work([queue.open_study('s')], lambda c: os._exit(9))") == 9
    assert states(study)[TrialState.RUNNING] == [specs[0].config.key]
    trained = []
    worker_loop.work([study], lambda c: trained.append(c.config.key) or 0.5)
    assert sorted(trained) == sorted(c.config.key for c in specs)
    ended = states(study)
    assert sorted(ended[TrialState.COMPLETE]) == sorted(trained)
    assert ended[TrialState.FAIL] == [specs[0].config.key]


@pytest.mark.parametrize("outcome", ["result", "error"])
def test_a_worker_that_was_taken_for_dead_goes_on(mlruns: Path, outcome: str) -> None:
    """It was suspended for longer than its grace: its trial has failed, and waits again."""
    study = queue.open_study("s")
    queue.enqueue(study, [spec(0), spec(1)])
    trained = []

    def train(c: RunSpec) -> float:
        trained.append(c.config.seed)
        if len(trained) == 1:
            (running,) = study.get_trials(states=(TrialState.RUNNING,))
            study.tell(running.number, state=TrialState.FAIL)
            queue.again(study, running)
            if outcome == "error":
                raise ValueError("broken")
        return 0.5

    worker_loop.work([study], train)
    assert trained == [0, 1, 0]
    assert len(states(study)[TrialState.COMPLETE]) == 2


def test_a_worker_that_was_taken_for_dead_can_be_stopped(mlruns: Path) -> None:
    study = queue.open_study("s")
    queue.enqueue(study, [spec(0), spec(1)])
    trained = []

    def train(c: RunSpec) -> float:
        trained.append(c.config.seed)
        study.tell(study.get_trials(states=(TrialState.RUNNING,))[0].number, state=TrialState.FAIL)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker_loop.work([study], train)
    assert trained == [0]


def test_what_a_stopped_command_left_waiting_is_not_trained(mlruns: Path) -> None:
    specs = [spec(0).to_json(), spec(1).to_json()]
    assert elsewhere(f"queue.enqueue(queue.open_study('s'), [run_spec_from_json(c) for c in {specs}])") == 0
    study = queue.open_study("s")
    queue.enqueue(study, [spec(1)])
    trained = []
    worker_loop.work([study], lambda c: trained.append(c) or 0.5)
    assert trained == [spec(1)]


def test_a_run_that_the_worker_of_a_dead_command_is_at_is_trained_if_that_worker_dies_too(mlruns: Path) -> None:
    cell = spec(0).to_json()
    code = f"study = queue.open_study('s'); queue.enqueue(study, [run_spec_from_json({cell!r})])"
    assert elsewhere(code) == 0
    study = queue.open_study("s")
    # Its worker is this process.
    with pytest.warns(UserWarning, match="Heartbeat"):
        orphan = study.ask()
    for name, sign in identity().items():
        orphan.set_user_attr(f"worker_{name}", sign)
    queue.enqueue(study, [spec(0)])
    # It dies.
    orphan.set_user_attr("worker_process", f"999999@1@{identity()['process'].split('@')[2]}")
    trained = []
    worker_loop.work([study], lambda c: trained.append(c) or 0.5)
    assert trained == [spec(0)]
    assert queue.is_empty(study)


def test_an_interrupted_cell_can_be_queued_again(mlruns: Path) -> None:
    study = queue.open_study("s")
    queue.enqueue(study, [spec(0)])

    def interrupted(c: RunSpec) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker_loop.work([study], interrupted)
    queue.enqueue(study, [spec(0)])
    worker_loop.work([study], lambda c: 0.5)
    assert states(study)[TrialState.COMPLETE] == [spec(0).config.key]


def test_an_unreachable_database_is_named_without_its_password(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://me:secret@127.0.0.1:9/optuna")
    with pytest.raises(HarnessError, match=r"127\.0\.0\.1:9/optuna did not open.*Connection refused") as raised:
        queue.open_study("s")
    assert "secret" not in str(raised.value)
    assert str(mlruns / "runs") in str(raised.value)


def test_a_database_server_that_says_nothing_is_not_waited_for(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_database, "SILENCE", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPTUNA_STORAGE", f"postgresql://127.0.0.1:{silent.getsockname()[1]}/optuna")
        begin = time.monotonic()
        with pytest.raises(HarnessError, match="timeout expired"):
            queue.known_studies()
    assert time.monotonic() - begin < 30


def test_a_damaged_queue_is_explained(mlruns: Path) -> None:
    (mlruns / "optuna.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(HarnessError, match="may be deleted"):
        queue.open_study("s")


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), RuntimeError("attempt to write a readonly database")]
)
def test_a_queue_that_is_read_only_is_not_to_be_deleted(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(queue.filelock, "FileLock", Mock(side_effect=error))
    with pytest.raises(HarnessError, match="cannot be written to") as raised:
        queue.open_study("s")
    assert "deleted" not in str(raised.value)


def lose(study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is recreated by another program: it has no studies any more."""
    with study._storage._backend.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trials")


def take_down(study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database does not answer any more, as a server that is restarted."""
    for method in ("set_trial_user_attr", "set_trial_state_values", "get_trial", "get_all_trials"):
        down = StorageInternalError("connection refused")
        monkeypatch.setattr(study._storage, method, Mock(side_effect=down))


@pytest.mark.parametrize("fails", [lose, take_down])
@pytest.mark.parametrize("when", ["the run ends well", "the run fails"])
def test_a_database_that_fails_in_the_middle_of_a_run_is_explained(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, fails, when: str
) -> None:
    study = queue.open_study("s")
    queue.enqueue(study, [spec(0)])

    def train(_: RunSpec) -> float:
        fails(study, monkeypatch)
        if when == "the run fails":
            raise ValueError("no room for it")
        return 0.5

    with pytest.raises(HarnessError, match=r"did not answer.*give the same command again"), queue_database.explained():
        worker_loop.work([study], train)


@pytest.mark.parametrize(
    "storage", ["journal.log", "redis://127.0.0.1:9", "sqlite://", "http://host", "postgresql://me:p@ss@host/optuna"]
)
def test_a_storage_that_is_no_database_is_refused(mlruns: Path, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", storage)
    with pytest.raises(BadInput, match="is not the URL of a database") as refused:
        queue.open_study("s")
    assert "ss@" not in str(refused.value)


def test_the_database_of_another_application_is_left_as_it_is(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (mlruns / "mlflow.db").read_bytes()
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{mlruns}/mlflow.db")
    with pytest.raises(BadInput, match="of another application"):
        queue.open_study("s")
    assert (mlruns / "mlflow.db").read_bytes() == before


def test_a_worker_whose_command_is_dead_ends_after_its_run(mlruns: Path) -> None:
    study = queue.open_study("s")
    queue.enqueue(study, [spec(seed) for seed in range(3)])
    trained: list[RunSpec] = []
    worker_loop.work([study], lambda c: trained.append(c) or 0.5, is_wanted=lambda: not trained)
    assert len(trained) == 1
    assert len(states(study)[TrialState.WAITING]) == 2


def test_a_worker_knows_whether_its_command_is_dead(mlruns: Path) -> None:
    study = queue.open_study("s")
    queue.enqueue(study, [spec(0)])
    scope = identity()["process"].split("@")[2]
    work(["s"], probe=False, parent=f"999999@1@{scope}")
    assert len(states(study)[TrialState.WAITING]) == 1


def test_checkouts_with_other_code_have_their_own_queue(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them can train a run that another one planned."""
    ours = dataclasses.replace(spec(0), config=dataclasses.replace(small_config(), source="a" * 12))
    theirs = dataclasses.replace(spec(1), config=dataclasses.replace(small_config(seed=1), source="b" * 12))
    for each in (ours, theirs):
        queue.enqueue(queue.open_study(study_name(each)), [each])
    trained: list[RunSpec] = []
    monkeypatch.setattr(worker, "source_hash", lambda engine: "a" * 12)
    monkeypatch.setattr(worker, "load_named", lambda name: None)
    monkeypatch.setattr(worker, "run_shown", lambda each, *more: trained.append(each) or RESULT)
    # Whoever starts a worker need not know the hash of the code.
    worker.work(["e fast smoke synthetic"], probe=False, parent="")
    assert trained == [ours]
    assert states(queue.open_study(study_name(theirs))) == {TrialState.WAITING: [theirs.config.key]}


@pytest.mark.parametrize("name", ["what?", "50%25", "100% sure", "it's [a] C#"])
def test_the_queue_lies_in_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path / name))
    queue.open_study("s")
    assert (tmp_path / name / "optuna.db").exists()
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
