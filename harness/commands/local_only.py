"""Serve a WSGI application on this machine only, out of the reach of web pages that a browser here has open.

A page of another site can let its own name point to 127.0.0.1 (DNS rebinding). The browser then takes this server for
that site, and lets the page read and write. Only the header `Host` tells: it has the name of that site.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

#: The names by which a browser on this machine may call it, whatever the port: it may be forwarded through ssh.
NAMES = ("127.0.0.1", "localhost", "::1")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do nothing: an open page asks every few seconds."""


def serve_here(application: Application, port: int) -> None:
    """Serve an application on 127.0.0.1 until a signal comes."""
    with make_server("127.0.0.1", port, guarded(application), _Server, _Quiet) as server:
        server.serve_forever()


def guarded(application: Application) -> Application:
    """Return the application behind a check that refuses what comes from a page of another site."""

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        if _is_here(f"//{environ.get('HTTP_HOST', '')}") and (origin is None or _is_here(origin)):
            return application(environ, start_response)
        status = HTTPStatus.FORBIDDEN
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain")])
        return [b"This page answers on this machine only: open it as http://127.0.0.1, or forward its port with ssh.\n"]

    return checked


def _is_here(address: str) -> bool:
    try:
        return urlsplit(address).hostname in NAMES
    except ValueError:
        return False
