"""Detect which processes are alive. A killed process cannot report its end, so other processes check."""

import os
import socket
import time
import uuid
from collections.abc import Mapping

import psutil

#: A process on another machine counts as dead after this many seconds without a heartbeat.
SILENCE = 3600.0


def identity() -> dict[str, str]:
    """Return attributes that identify this process. On the same machine they suffice to check whether it is alive."""
    return {"machine": _machine(), "process": _process(os.getpid())}


def signs_of_life() -> dict[str, str]:
    """Return attributes to store with a piece of work, so that others can check whether this process is alive."""
    return identity() | {"heartbeat": str(int(time.time()))}


def is_alive(signs: Mapping[str, str]) -> bool:
    """Whether the process with these attributes (`signs_of_life`) is alive. Without attributes it counts as alive.

    A process on another machine counts as dead after `SILENCE` seconds without a heartbeat.
    """
    if signs.get("machine") == _machine():
        pid = signs.get("process", "").partition("@")[0]
        return pid.isdecimal() and signs["process"] == _process(int(pid))
    return "heartbeat" not in signs or time.time() - float(signs["heartbeat"]) < SILENCE


def _machine() -> str:
    # Host names are often not unique (containers, clones); a network card's address is less likely to repeat.
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _process(pid: int) -> str:
    """Return a name that no later process has: the process id alone may be reused. "" if the process is dead."""
    try:
        process = psutil.Process(pid)
        # A zombie is dead: a killed child whose parent has not yet read its exit status.
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{pid}@{process.create_time():.2f}"
    except psutil.Error:
        return ""
