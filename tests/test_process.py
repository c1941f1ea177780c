"""A living process is never taken for dead, whatever the clock says and wherever it is looked at from."""

import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from harness.common import process
from harness.common.process import identity, is_alive, mlruns_id, signs_of_life

BOOT = "7b1f0c7e-0000-4000-8000-000000000000"


def test_a_clock_that_is_set_changes_no_identity(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = identity()
    # What psutil says of a living process changes with the clock: it adds the time of the boot.
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 1.0)
    monkeypatch.setattr(time, "time", lambda: 1e10)
    assert identity() == mine
    assert is_alive(mine)


def test_the_machine_has_one_name_in_all_processes(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a network card `uuid.getnode` is another random number in every process.
    monkeypatch.setattr(uuid, "getnode", lambda: pytest.fail("a network card is not asked for"))
    code = "from harness.common.process import identity; print(identity()['machine'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == identity()["machine"]


def test_a_machine_without_an_id_is_known_by_that_of_mlruns(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_hexadecimal", lambda file: "" if file == Path("/etc/machine-id") else "a" * 32)
    assert identity()["machine"].endswith("-aaaaaaaaaaaa")


def test_a_dead_process_is_dead_and_so_is_one_whose_number_was_used_again(mlruns: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(100,))
    child.start()
    assert child.pid
    theirs = identity() | {"process": process._process(child.pid)}
    assert is_alive(theirs)
    child.kill()
    child.join()
    assert not is_alive(theirs)
    pid, start, scope = identity()["process"].split("@")
    assert not is_alive(identity() | {"process": f"{pid}@{int(start) - 1}@{scope}"})


@pytest.mark.parametrize(
    ("machine", "scope", "silent", "alive"),
    [
        ("mine", f"{BOOT}/{process.HOST_NAMESPACE}", False, False),  # this machine has been booted since
        ("mine", f"{BOOT}/4026532999", False, True),  # another container, perhaps: its processes are not seen here
        ("mine", f"{BOOT}/4026532999", True, False),
        ("other", f"{BOOT}/{process.HOST_NAMESPACE}", False, True),
        ("other", f"{BOOT}/{process.HOST_NAMESPACE}", True, False),
    ],
)
def test_a_process_that_is_not_seen_from_here(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, machine: str, scope: str, silent: bool, alive: bool
) -> None:
    monkeypatch.setattr(process, "_scope", lambda: f"here/{process.HOST_NAMESPACE}")
    signs = signs_of_life() | {"process": f"{os.getpid()}@1@{scope}"}
    signs |= {"machine": machine} if machine != "mine" else {}
    assert is_alive(signs | ({"heartbeat": "1"} if silent else {})) == alive


def test_work_without_signs_counts_as_alive(mlruns: Path) -> None:
    assert is_alive({})


def test_mlruns_has_one_id_which_moves_with_it(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = mlruns_id()
    assert mlruns_id() == first
    mlruns.rename(tmp_path / "moved")
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path / "moved"))
    assert mlruns_id() == first
    (tmp_path / "moved" / "id").write_text("cut o")
    assert mlruns_id() not in (first, "cut o")
