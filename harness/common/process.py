"""Detect which processes are alive. A killed process cannot report its end, so other processes check.

Nothing here depends on the clock, which may be set while a process runs: on Linux a process is known by its boot, its
PID namespace, its process id and the clock tick of that boot at which it started.
"""

import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import psutil

from harness.common import paths
from harness.common.files import locked, write_atomically

#: A process on another machine counts as dead after this many seconds without a heartbeat.
SILENCE = 3600.0

#: The inode of the first PID namespace of every Linux machine: the same in every kernel.
HOST_NAMESPACE = "4026531836"


def identity() -> dict[str, str]:
    """Return attributes that identify this process. On the same machine they suffice to check whether it is alive."""
    return {"machine": _machine(), "process": _process(os.getpid())}


def signs_of_life() -> dict[str, str]:
    """Return attributes to store with a piece of work, so that others can check whether this process is alive."""
    return identity() | {"heartbeat": str(int(time.time()))}


def is_alive(signs: Mapping[str, str]) -> bool:
    """Whether the process with these attributes (`signs_of_life`) is alive. Without attributes it counts as alive.

    A process that cannot be seen from here, because it is on another machine or in another container, counts as dead
    after `SILENCE` seconds without a heartbeat.
    """
    pid, _, rest = signs.get("process", "").partition("@")
    visible_from = rest.partition("@")[2]
    if visible_from == _scope():
        return pid.isdecimal() and signs["process"] == _process(int(pid))
    if signs.get("machine") == _machine() and not (_in_container(visible_from) or _in_container(_scope())):
        return False  # of an earlier boot
    return "heartbeat" not in signs or time.time() - float(signs["heartbeat"]) < SILENCE


def mlruns_id() -> str:
    """Return the id of the `mlruns/` folder. It is created at the first call, and moves with the folder."""
    file = paths.mlruns() / "id"
    if not (known := _hexadecimal(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_suffix(".lock")):
            if not (known := _hexadecimal(file)):
                known = uuid.uuid4().hex
                write_atomically(file, known.encode())
    return known


def _machine() -> str:
    """Return the name of this machine. Host names alone are often not unique, nor are ids of copied images."""
    return f"{socket.gethostname()}-{(_hexadecimal(Path('/etc/machine-id')) or mlruns_id())[:12]}"


def _hexadecimal(file: Path) -> str:
    """Return the id of 32 hex digits that a file holds; "" if there is none."""
    try:
        found = file.read_text().strip()
    except (OSError, ValueError):
        return ""
    return found if re.fullmatch("[0-9a-f]{32}", found) else ""


@cache
def _scope() -> str:
    """Return a name shared by the processes that see each other: of one boot and one PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{re.sub('[^0-9]', '', os.readlink('/proc/self/ns/pid'))}"
    except OSError:
        return _machine()


def _in_container(scope: str) -> bool:
    return "/" in scope and not scope.endswith(f"/{HOST_NAMESPACE}")


def _process(pid: int) -> str:
    """Return a name that no later process has: the process id alone may be reused. "" if the process is dead."""
    started = _start_tick(pid) if sys.platform == "linux" else _start_time(pid)
    return f"{pid}@{started}@{_scope()}" if started else ""


def _start_tick(pid: int) -> str:
    # psutil adds the time of the boot, which changes when the clock is set.
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    # A zombie is dead: a killed child whose parent has not yet read its exit status.
    return "" if state in (b"Z", b"X") else fields[18].decode()


def _start_time(pid: int) -> str:
    # Other systems than Linux store this time when the process starts, and do not change it later.
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""
