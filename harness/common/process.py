"""Which processes are alive: one that is killed cannot say so itself, so the next one finds out."""

import os
import socket
import time
import uuid
from collections.abc import Mapping

import psutil

#: A process of another machine that has been silent for this long, in seconds, is taken for dead.
SILENCE = 3600.0


def identity() -> dict[str, str]:
    """Which process this is: on its own machine, that is enough to tell whether it still lives."""
    return {"machine": _machine(), "process": _process(os.getpid())}


def signs_of_life() -> dict[str, str]:
    """What to leave with a piece of work, so that others can tell whether the process that does it still lives."""
    return identity() | {"heartbeat": str(int(time.time()))}


def is_alive(signs: Mapping[str, str]) -> bool:
    """Whether the process that left these signs still lives; without signs it is given the benefit of the doubt.

    On another machine it is dead when it has been silent for `SILENCE`.
    """
    if signs.get("machine") == _machine():
        pid = signs.get("process", "").partition("@")[0]
        return pid.isdecimal() and signs["process"] == _process(int(pid))
    return "heartbeat" not in signs or time.time() - float(signs["heartbeat"]) < SILENCE


def _machine() -> str:
    # Host names repeat (containers, clones); a network card's address does so less.
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _process(pid: int) -> str:
    """A name that no later process shares: process numbers are used again."""
    try:
        process = psutil.Process(pid)
        # A killed child whose parent has not looked yet is dead all the same.
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{pid}@{process.create_time():.2f}"
    except psutil.Error:
        return ""
