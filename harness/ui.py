"""The MLflow UI, on this machine only."""

import os
import socket
import sys

from harness import tracking
from harness.errors import HarnessError
from harness.report.console import log


def serve(port: int) -> None:
    """Become the MLflow server on 127.0.0.1; says where the UI is when `$MLFLOW_TRACKING_URI` is a server already."""
    if tracking.tracking_uri().startswith("http"):
        log.print(f"The runs are on your own server: {tracking.tracking_uri()}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise HarnessError(
                f"Port {port} cannot be used ({error.strerror}): another MLflow UI may be on it already. Look at "
                f"http://127.0.0.1:{port}, or choose another port: make ui PORT={port + 1}."
            ) from error
    with tracking.explained():
        tracking.mark_dead_runs(tracking.open_mlflow())
    log.print(f"MLflow UI at http://127.0.0.1:{port} (Ctrl-C ends it)")
    # One worker and no job runner: MLflow otherwise starts 15 processes that take 2.5 GB.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.tracking_uri()]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # In place of this process: a signal meant for the UI then reaches it.
    os.execve(sys.executable, command, environment)
