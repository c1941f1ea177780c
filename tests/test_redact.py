"""No password or token is printed or written, whichever way it came in."""

import pytest
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


@given(SHAPES, PASSWORDS, PASSWORDS)
def test_what_is_shown_of_a_url_does_not_depend_on_its_password(shape: str, one: str, other: str) -> None:
    inside = str.maketrans("", "", "&;#") if "={" in shape else {}  # they end a value of a query
    assert public_url(shape.format(one.translate(inside))) == public_url(shape.format(other.translate(inside)))


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
