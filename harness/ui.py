"""The MLflow UI, on this machine only."""

import os
import subprocess
import sys

from harness import tracking
from harness.errors import HarnessError
from harness.report.console import log


def serve(port: int) -> None:
    """Run the MLflow UI on 127.0.0.1 until it is stopped."""
    tracking.open_mlflow()
    log.print(f"MLflow UI at http://127.0.0.1:{port} (Ctrl-C ends it)")
    # One worker and no job runner: MLflow otherwise starts 15 processes that take 2.5 GB.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        tracking.tracking_uri(),
        "--host",
        "127.0.0.1",
    ]
    command += ["--port", str(port), "--workers", "1"]
    ended = subprocess.run(command, env=environment, check=False).returncode
    if ended:
        raise HarnessError(
            f"The MLflow server ended with code {ended}. If port {port} is taken, choose another: "
            f"make ui PORT={port + 1}."
        )
