"""The run on disk is valid whatever happens while it is written."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import finished, small_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.common.files import write_atomically
from harness.runs.folder import RunFolder, all_runs, key_called
from harness.runs.records import Result

STATE = {"model/a": np.arange(5, dtype=np.float32), "optimizer/b": np.array(3)}
HISTORY = [{"epoch": 1, "timestamp": 1, "test_loss": 0.1 + 0.2}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path))
    return RunFolder(small_config())


def test_state_and_history_come_back_exactly(folder: RunFolder) -> None:
    assert folder.load() is None
    folder.save(STATE, HISTORY)
    loaded = folder.load()
    assert loaded is not None
    state, history = loaded
    assert history == HISTORY
    assert state.keys() == STATE.keys()
    assert all(np.array_equal(state[k], STATE[k]) and state[k].dtype == STATE[k].dtype for k in STATE)


def test_a_failed_write_leaves_the_old_file_and_no_litter(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save(STATE, HISTORY)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match="No space left on device"):
        folder.save({}, [])
    monkeypatch.undo()
    os.environ["HARNESS_MLRUNS"] = str(folder.path.parent.parent)
    assert sorted(p.name for p in folder.path.iterdir()) == ["checkpoint.npz"]
    loaded = folder.load()
    assert loaded is not None
    assert loaded[1] == HISTORY
    del os.environ["HARNESS_MLRUNS"]


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_replaced_and_a_link_stays_one(tmp_path: Path, kind: str) -> None:
    place, link = tmp_path / "place", tmp_path / "link"
    link.symlink_to(place)
    write_atomically(link, b"new")
    assert (link.is_symlink(), place.read_bytes()) == (True, b"new")
    place.unlink()
    place.mkdir() if kind == "folder" else os.mkfifo(place)
    for each in (place, link):
        with pytest.raises(BadInput, match="no regular file"):
            write_atomically(each, b"newer")
    assert not place.is_file()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(folder: RunFolder, damage: str) -> None:
    folder.save(STATE, HISTORY)
    file = folder.path / "checkpoint.npz"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[content.index(STATE["model/a"].tobytes())] ^= 1
    file.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with pytest.raises(BadInput, match=r"checkpoint\.npz.*--fresh"):
        folder.load()


def test_a_checkpoint_that_lacks_an_array_is_damaged(folder: RunFolder) -> None:
    folder.save(STATE, HISTORY)
    with np.load(folder.path / "checkpoint.npz") as file:
        arrays = dict(file)
    del arrays["model/a"]
    np.savez(folder.path / "checkpoint.npz", **arrays)
    with pytest.raises(BadInput, match="lacks arrays"):
        folder.load()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_bit_of_a_checkpoint_flips_it_is_harmless_or_named(folder: RunFolder, data: st.DataObject) -> None:
    folder.save(STATE, HISTORY)
    file = folder.path / "checkpoint.npz"
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    # Any other error would be a traceback.
    with contextlib.suppress(BadInput):
        loaded = folder.load()
        assert loaded is not None
        assert loaded[1] == HISTORY
        assert all(np.array_equal(loaded[0][name], value) for name, value in STATE.items())


@pytest.mark.parametrize("name", ["result.json", "artifacts/history.json"])
def test_a_damaged_result_is_named_and_other_runs_go_on(folder: RunFolder, name: str) -> None:
    with folder.locked():
        folder.finish(finished(), HISTORY)
    (folder.path / name).write_text('{"status": ')
    with pytest.raises(BadInput, match=rf"{folder.config.key}/{name} cannot be read.*command again"):
        folder.result(), folder.history()
    other = RunFolder(small_config(seed=1))
    with other.locked():
        other.finish(finished(), HISTORY)
    found = {run.config.seed for run in all_runs()}
    assert found == ({1} if name == "result.json" else {0, 1})


RESULT = Result("finished", "", {"accuracy": 0.871}, "ab" * 32, {"cat": 0.125}, [[7, 1], [0, 8]])


@pytest.fixture
def ended(folder: RunFolder) -> RunFolder:
    """A run with a result, and with every file that is sealed."""
    with folder.locked():
        folder.begin({"cpu": "abacus"}, "there")
        folder.artifacts.mkdir()
        (folder.artifacts / "loss.png").write_bytes(b"a picture")
        folder.finish(RESULT, HISTORY)
    return folder


def read_all(folder: RunFolder) -> Any:
    return folder.result(), folder.history(), folder.environments()


SEALED = ["artifacts/history.json", "artifacts/loss.png", "config.json", "environment.json", "result.json", "seal.json"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SEALED), st.data())
def test_a_damaged_file_of_a_run_that_has_ended_is_named(ended: RunFolder, name: str, data: st.DataObject) -> None:
    """Whether a bit flips or the file is cut: nothing else is ever read."""
    whole, file = read_all(ended), ended.path / name
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(data.draw(st.sampled_from([bytes(flipped), content[:place]])))
    assert ended.damage()
    with contextlib.suppress(BadInput):
        assert read_all(ended) == whole
    file.write_bytes(content)
    assert not ended.damage()


@pytest.mark.parametrize("name", SEALED[:4])
def test_a_missing_file_of_a_run_that_has_ended_is_named(ended: RunFolder, name: str) -> None:
    (ended.path / name).unlink()
    assert name in ended.damage()


def test_a_file_of_another_run_is_not_taken_for_ones_own(ended: RunFolder) -> None:
    other = RunFolder(small_config(seed=1))
    with other.locked():
        other.finish(finished(0.1), HISTORY)
    shutil.copy(other.path / "result.json", ended.path / "result.json")
    with pytest.raises(BadInput, match="not what it was when the run ended"):
        ended.result()


LITTER = (".DS_Store", "Thumbs.db", "._history.json", "history (conflicted copy).json", ".history.json.Xy12")


def test_what_others_add_to_a_folder_change_and_remove_damages_no_run(folder: RunFolder, caplog) -> None:
    """File managers, and programs that keep folders alike."""
    with folder.locked():
        folder.artifacts.mkdir()
        for name in LITTER:
            (folder.path / name).write_bytes(b"\0")
            (folder.artifacts / name).write_bytes(b"\0")
        folder.finish(RESULT, HISTORY)
    (folder.artifacts / LITTER[0]).write_bytes(b"\0\1")
    (folder.artifacts / LITTER[1]).unlink()
    shutil.copytree(folder.path, folder.path.with_name(f"{folder.path.name} (1)"))
    assert folder.damage() == {}
    assert [run.config for run in all_runs()] == [folder.config]
    assert f"is a copy of the run {folder.config.key}" in caplog.text


def test_the_folder_of_another_run_is_not_taken_for_ones_own(ended: RunFolder) -> None:
    """Renamed, or copied: its seal fits, and so does its checkpoint."""
    other = RunFolder(small_config(seed=1))
    ended.path.rename(other.path)
    says = f"{other.path} holds the files of the run {ended.config.key}"
    with pytest.raises(BadInput, match=says):
        other.result()
    with pytest.raises(BadInput, match=says), other.locked():
        pass
    other.path.rename(ended.path)
    assert not ended.damage()
    assert ended.result() == RESULT


def test_a_checkpoint_of_another_run_is_not_taken_for_ones_own(folder: RunFolder) -> None:
    folder.save(STATE, HISTORY)
    other = RunFolder(small_config(seed=1))
    folder.path.rename(other.path)
    with pytest.raises(BadInput, match=f"it is of the run '{folder.config.key}'"):
        other.load()


def test_runs_of_earlier_versions_are_read_without_a_seal(ended: RunFolder) -> None:
    (ended.path / "seal.json").unlink()
    assert not ended.damage()
    assert ended.result() == RESULT


def test_a_damaged_config_is_named_and_written_anew_by_the_runs_command(
    ended: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    file = ended.path / "config.json"
    content = file.read_bytes()
    for damaged in (content[:-1], content.replace(b'"seed":0', b'"seed":1'), b"[" * 100_000):
        file.write_bytes(damaged)
        assert all_runs() == []
        assert str(file) in caplog.text
        with ended.locked():
            assert file.read_bytes() == content


def test_result_and_clear(folder: RunFolder) -> None:
    result = Result("finished", "", {"accuracy": 0.5}, "ab", {"cat": 0.5}, [[1, 0], [0, 1]])
    with folder.locked():
        folder.save(STATE, HISTORY)
        folder.finish(result, [])
    assert folder.result() == result
    assert [run.config for run in all_runs()] == [folder.config]
    folder.clear()
    assert folder.result() is None
    assert folder.load() is None


def test_a_run_belongs_to_one_process_and_is_free_when_that_dies(folder: RunFolder) -> None:
    holder = (
        "import time; from conftest import small_config; from harness.runs.folder import RunFolder\n"
        "with RunFolder(small_config()).locked(): print('held', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    child = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(HarnessError, match=f"process {child.pid}"), folder.locked():
        pass
    child.kill()
    child.wait()
    with folder.locked():
        pass


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("a", "a/b"):
        with pytest.raises(BadInput, match=r"could not be written, as .*file is a file: give a folder"):
            write_atomically(tmp_path / "file" / below, b"")


@pytest.mark.parametrize(
    "source", [r"/home/me/my\files\backup", r"C:\beer\fish", os.fsdecode(b"/home/caf\xe9/cifar10")]
)
def test_any_path_of_the_data_can_be_recorded(mlruns: Path, source: str) -> None:
    folder = RunFolder(small_config())
    with folder.locked():
        folder.begin({"device": "cpu"}, paths.printable(Path(source)))
    known = folder.environment()
    assert known
    assert known.source == source.replace("\udce9", r"\xe9")


@pytest.mark.parametrize("damage", ["another run's", "cut"])
def test_probabilities_that_are_not_those_of_the_run_are_never_read(mlruns: Path, damage: str) -> None:
    folders = [RunFolder(small_config(seed=seed)) for seed in (0, 1)]
    for number, folder in enumerate(folders):
        folder.artifacts.mkdir(parents=True)
        folder.keep_probabilities(np.full((4, 10), 0.1 * (number + 1)))
        folder.finish(finished(), [])
    first, second = (folder.artifacts / "probabilities.npz" for folder in folders)
    kept = folders[0].probabilities()
    assert kept is not None
    assert kept.dtype == np.float16
    first.write_bytes(second.read_bytes() if damage == "another run's" else first.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"probabilities\.npz cannot be read"):
        folders[0].probabilities()
    (folders[0].path / "seal.json").unlink()  # as of a run of an earlier version
    if damage == "cut":
        with pytest.raises(BadInput, match=r"probabilities\.npz cannot be read"):
            folders[0].probabilities()


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("", "'' is the start of 0 run keys, not of one: `harness runs`"),
        ("a", "2 run keys, not of one; there are ab, ac"),
    ],
)
def test_a_run_is_called_by_the_beginning_of_its_key(start: str, says: str) -> None:
    assert key_called("b", ["ac", "ab", "bc"]) == "bc"
    with pytest.raises(BadInput, match=says):
        key_called(start, ["ac", "ab", "bc"])
