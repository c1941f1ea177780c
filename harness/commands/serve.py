"""Serve the MLflow UI and the Optuna dashboard, on this machine only."""

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import tracking
from harness.commands.local_only import serve_here
from harness.common import paths
from harness.common.errors import HarnessError
from harness.common.lazy import lazy_import
from harness.common.redact import public_url
from harness.reporting.console import log, print_line
from harness.tracking.report_view import pages
from harness.tracking.told import remember_ui_port

if TYPE_CHECKING:
    from harness.commands import dashboard
    from harness.execute import work_queue
else:
    dashboard = lazy_import("harness.commands.dashboard")
    work_queue = lazy_import("harness.execute.work_queue")

#: How many pages are named.
MOST_PAGES = 6
#: A program that opens a page once its server answers. This process becomes the server, and cannot.
OPEN = """
import sys, time, urllib.request, webbrowser
for _ in range(120):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        break
    except OSError:
        time.sleep(0.5)
webbrowser.open(sys.argv[1])
"""


def serve(port: int) -> None:
    """Replace this process by an MLflow server on 127.0.0.1. If `$MLFLOW_TRACKING_URI` is a server, only print that."""
    if tracking.is_server():
        log.print(f"The runs are on your own server: {public_url(tracking.tracking_uri())}")
        return
    _check_free(port, "ui")
    with tracking.explained():
        mlflow = tracking.open_mlflow()
        if not tracking.is_read_only():
            tracking.mark_dead_runs(mlflow)
        places = pages(mlflow)
    if not paths.is_read_only():
        remember_ui_port(port)
    server = f"http://127.0.0.1:{port}"
    log.print(f"MLflow UI at {server} (Ctrl-C ends it)")
    for label, place in list(places.items())[:MOST_PAGES]:
        log.print(f"  {label}:")
        print_line(f"  {server}{place}")
    _open_in_a_browser(server + next(iter(places.values()), ""))
    # One worker and no job runner: by default MLflow starts 15 processes, which take 2.5 GB of memory.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In the environment: a command line is seen by everybody on this machine, and the URI may have a password.
    environment |= {"MLFLOW_BACKEND_STORE_URI": tracking.tracking_uri()}
    command = [sys.executable, "-P", "-m", "mlflow", "server"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # Replace this process, so that signals reach the server.
    os.execve(sys.executable, command, environment)


def _open_in_a_browser(address: str) -> None:
    """Open a page as soon as its server answers, if somebody sits here: at a terminal, with a screen."""
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdin.isatty() and sys.stderr.isatty():
        nowhere = subprocess.DEVNULL
        subprocess.Popen([sys.executable, "-P", "-c", OPEN, address], stdin=nowhere, stdout=nowhere, stderr=nowhere)


def serve_dashboard(port: int) -> None:
    """Serve the Optuna dashboard on 127.0.0.1 until a signal comes.

    In this process: the command line of another one would show the password of the database to everybody here.
    """

    _check_free(port, "dashboard")
    if not (paths.is_read_only() and (paths.mlruns() / "optuna.db").exists()):
        # This creates the tables if there are none: the dashboard fails with an empty database.
        work_queue.known_studies()
    log.print(f"Optuna dashboard at http://127.0.0.1:{port} (Ctrl-C ends it)")
    serve_here(dashboard.application(), port)


def _check_free(port: int, target: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise HarnessError(
                f"Port {port} cannot be used ({error.strerror}): the same page may be on it already. Look at "
                f"http://127.0.0.1:{port}, or choose another port: make {target} PORT={port + 1}."
            ) from error
