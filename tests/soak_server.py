"""The MLflow server of a soak, behind a proxy that fails in the ways of networks and servers."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

#: Seconds that a server gets to start.
PATIENCE = 180

#: Headers of one connection, which are not for the next.
HOP = ("host", "connection", "transfer-encoding", "content-length")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TrackingServer:
    """An MLflow server with a database and artifacts in a folder.

    failure: what happens to requests: "" (they are answered), "down" (no connection is taken), "slow" (each answer
    takes two seconds), "deaf" (requests are carried out, and the answers are lost).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.database, self.failure, self._port = folder / "mlflow.db", "", _free_port()
        words = ["server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self._port)]
        words += ["--backend-store-uri", f"sqlite:///{self.database}", "--artifacts-destination", str(folder / "files")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words], env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SystemExit(f"MLflow's server does not start: {folder / 'log.txt'}")
            time.sleep(0.5)
        handler = type("Handler", (_Handler,), {"server_behind": self})
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def close(self) -> None:
        """End the proxy and the server."""
        self._proxy.shutdown()
        self._proxy.server_close()
        self._process.terminate()
        self._process.wait()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        """Return the server's answer to a request, which is not read yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5).status == 200)
        return False


class _Handler(BaseHTTPRequestHandler):
    """Forwards one request, or fails to."""

    protocol_version = "HTTP/1.1"
    server_behind: ClassVar[TrackingServer]

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def forward(self) -> None:
        """Forward a request of any method."""
        body, failure = self._body(), self.server_behind.failure
        if failure == "down":
            return self._hang_up()
        if failure == "slow":
            time.sleep(2)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        answer = self.server_behind.forward(self.command, self.path, headers, body)
        content = answer.read()
        if failure == "deaf":
            return self._hang_up()
        # Who asked may be dead by now.
        with contextlib.suppress(OSError):
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        return None

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = forward

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
