"""No password or token is printed or written, whichever way it came in."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import postgres
import psutil
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st

from harness.common.errors import HarnessError, first_line
from harness.common.redact import is_ambiguous, public_url, redacted

#: Any text that an environment variable may hold; what a password should not have in a URL is in it.
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1).map(lambda text: f"S3{text}z9")
SHAPES = st.sampled_from(
    [
        "http://me:{}@host:5000",
        "https://me:{}@host/prefix",
        "https://{}@host",
        "http://host/?token={}",
        "postgresql://me:{}@host:5432/optuna?sslmode=require",
        "postgresql+psycopg://me:{}@/optuna?host=/run",
        "mysql+pymysql://me:{}@host/optuna",
        "redis://:{}@host",
        "postgresql:/me:{}@host/optuna",
        "postgresql:me:{}@host/optuna",
        "//me:{}@host/optuna",
        "me:{}@host:5432/optuna",
        "http://host?user=me&password={}",
    ]
)


@given(SHAPES, PASSWORDS)
def test_what_is_shown_of_a_url_says_nothing_of_its_password(shape: str, password: str) -> None:
    if "={" in shape:  # these three end a value of a query
        password = password.translate(str.maketrans("", "", "&;#"))
    # A password that looks like a query, or as if a host followed it, makes the URL unclear: only its scheme is shown.
    shown = {public_url(shape.format(each)) for each in ("plain", "?=@")}
    assert public_url(shape.format(password)) in shown


@given(SHAPES, PASSWORDS)
def test_an_error_that_repeats_the_url_or_the_password_is_redacted(shape: str, password: str) -> None:
    password = password.translate(str.maketrans("", "", "&;# ")).ljust(12, "0")
    url = shape.format(password)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", url)
        for text in (f"no answer from {url}.", f"ValueError: {url!r}", f"wrong password {password!s} for me"):
            assert password not in redacted(text)
            assert password not in str(HarnessError(text))
            assert password not in first_line(OSError(text))


def test_a_url_in_an_error_is_redacted_wherever_it_came_from() -> None:
    assert redacted("see http://me:secret@host/a?token=b and 'git://x@y' (https://host)") == (
        "see http://host/a?token=*** and 'git://y' (https://host)"
    )


def test_a_url_that_was_given_as_an_option_is_redacted_too() -> None:
    url = "me:secret1@host/db"
    assert first_line(ValueError(f"no scheme in {url!r} (secret1)"), url) == "no scheme in 'me:host/db' (***)"


def test_what_is_no_secret_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://optuna:optuna@host/optuna")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////home/me@work/mlflow.db")
    for text in ("optuna", "sqlite:////home/me@work/mlflow.db", "http://127.0.0.1:5000/#/experiments/1/runs/ab"):
        assert redacted(text) == text


@pytest.mark.parametrize(
    ("url", "ambiguous"),
    [
        ("http://me:secret@host:5000", False),
        ("http://host", False),
        ("http://me:p%2Fw@host", False),
        ("http://me:p/w@host", True),
        ("http://me:p#w@host", True),
        ("http://me:p?w@host", True),
        ("http://me:p@w@host", True),
        ("http://host:port", True),
        ("postgresql://me:p/w@host/db", False),
        ("postgresql://me:p@w@host/db", True),
        ("sqlite:////home/me@work/a.db", False),
        ("journal.log", False),
    ],
)
def test_a_url_that_libraries_would_misread_is_known(url: str, ambiguous: bool) -> None:
    assert is_ambiguous(url) == ambiguous


@pytest.mark.slow
@pytest.mark.parametrize("asked", [("baseline",), ("ablate_order", "--workers", "2", "--seeds", "2")])
def test_a_password_is_in_nothing_that_a_run_prints_or_leaves_behind(
    harness: Command,
    mlruns: Path,
    serve: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
) -> None:
    store = ("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/sent")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # fifteen processes
    server = serve(sys.executable, "-m", "mlflow", "server", "--workers", "1", *store).removeprefix("http://")
    if postgres.BINARIES is None:
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    with postgres.running() as queue:
        secret = {
            "MLFLOW_TRACKING_URI": f"http://alice:s3cret-word@{server}",
            "OPTUNA_STORAGE": queue.url.replace("postgres@", "postgres:s3cret-word@"),
        }
        options = ("--budget", "smoke", "--data", "digits", "--set", "epochs=1")
        said = []
        for more in ((), ("--json",)):
            ended = harness("run", *asked, *options, *more, **secret)
            assert ended.returncode == 0, ended.stderr
            said.append(ended.stdout + ended.stderr)
        said.append(harness("ui", **secret).stderr)
    # Neither server answers now.
    nowhere = {name: url.replace(server, "127.0.0.1:9") for name, url in secret.items()}
    nowhere["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    failed = harness("run", *asked, *options, "--fresh", **nowhere)
    assert failed.returncode == 1
    said += [failed.stdout + failed.stderr]
    assert not [text for text in said if "s3cret-word" in text]
    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(left) > 20
    assert not [file for file in left if b"s3cret-word" in file.read_bytes()]


@pytest.mark.slow
def test_a_password_is_on_no_command_line(mlruns: Path) -> None:
    """Of the UI: the server's own processes are started by MLflow."""
    if postgres.BINARIES is None:
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    with postgres.running() as database, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = os.environ | {"MLFLOW_TRACKING_URI": database.url.replace("postgres@", "postgres:s3cret-word@")}
        ui = subprocess.Popen([sys.executable, "-m", "harness", "ui", "--port", str(port)], env=environment)
        try:
            seen = set()
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline and len(seen) < 2:
                # A process may end while it is asked.
                with contextlib.suppress(psutil.Error):
                    family = [psutil.Process(ui.pid), *psutil.Process(ui.pid).children(recursive=True)]
                    seen |= {" ".join(each.cmdline()) for each in family if "server" in " ".join(each.cmdline())}
            assert len(seen) >= 2, "MLflow starts a process for the server"
            assert not [line for line in seen if "s3cret-word" in line]
        finally:
            for each in psutil.Process(ui.pid).children(recursive=True):
                each.terminate()
            ui.terminate()
            ui.wait(60)


def test_the_first_line_of_an_error_is_what_has_gone_wrong() -> None:
    """SQLAlchemy puts advice to programmers before it."""
    advice = "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block)"
    assert first_line(ValueError(f"{advice}\nno such table: runs")) == "no such table: runs"
    assert first_line(ValueError("")) == "ValueError"
