"""The dashboard answers the browser of this machine, and no page of another site in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from conftest import command

from harness.commands.local_only import guarded


def status(**headers: str) -> str:
    """How the guarded application answers a request with these headers."""
    said: list[str] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    guarded(application)(
        {f"HTTP_{name.upper()}": value for name, value in headers.items()}, lambda s, h: said.append(s)
    )
    return said[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:9000", "[::1]:8080"])
def test_this_machine_is_answered(host: str) -> None:
    assert status(host=host) == "200 OK"
    assert status(host=host, origin=f"http://{host}") == "200 OK"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "x@[", "localhost@evil.example"]
)
def test_another_name_is_refused(host: str) -> None:
    assert status(host=host) == "403 Forbidden"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://["])
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    assert status(host="127.0.0.1:8080", origin=origin) == "403 Forbidden"


def test_the_dashboard_is_guarded_and_has_no_storage_on_its_command_line(
    mlruns: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{mlruns}/queue-with-a-secret.db")
    address = serve(*command("dashboard"))
    assert requests.get(f"{address}/api/studies", timeout=20).json() == {"study_summaries": []}
    assert requests.get(f"{address}/api/studies", headers={"Host": "evil.example"}, timeout=20).status_code == 403
    children = psutil.Process().children(recursive=True)
    assert any("dashboard" in child.cmdline() for child in children)
    assert not any("a-secret" in word for child in children for word in child.cmdline())
