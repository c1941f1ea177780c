"""Which runs are alive: a process that is killed cannot end its run, so the next one does."""

import os
import socket
import time
import uuid
from typing import Any

import psutil

#: A run of another machine that has been silent for this long, in seconds, is taken for dead.
SILENCE = 3600.0


def signs_of_life() -> dict[str, str]:
    """Tags by which others can tell whether the process that trains a run still lives."""
    return {"machine": _machine(), "process": _process(os.getpid()), "heartbeat": str(int(time.time()))}


def mark_dead_runs(mlflow: Any) -> None:
    """Set this harness's runs that a killed process left RUNNING to KILLED.

    A run is dead when its process is gone, or, on another machine, when it has been silent for `SILENCE`.
    """
    client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    # The tags name the harness's own runs: a server may hold other people's.
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING' and tags.run_key != ''"):
        tags = run.data.tags
        if tags.get("machine") == _machine():
            pid = tags.get("process", "").partition("@")[0]
            alive = pid.isdecimal() and tags["process"] == _process(int(pid))
        else:
            alive = time.time() - float(tags.get("heartbeat", run.info.start_time / 1000)) < SILENCE
        if not alive:
            client.set_tag(run.info.run_id, "reason", "its process died")
            client.set_terminated(run.info.run_id, "KILLED")


def _machine() -> str:
    # Host names repeat (containers, clones); a network card's address does so less.
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _process(pid: int) -> str:
    """A name that no later process shares: process numbers are used again."""
    try:
        return f"{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""
