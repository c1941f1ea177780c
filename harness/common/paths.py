"""The folders of the harness on disk. Every other module gets them here."""

import os
import tempfile
from pathlib import Path

import platformdirs

from harness.common.errors import BadInput, first_line

#: Bytes. sqlite opens no longer path, and appends -journal to that of a database.
LONGEST = 512 - len("/optuna.db-journal") - 1

PROJECT = Path(__file__).resolve().parent.parent.parent


def mlruns() -> Path:
    """Return the folder for everything that runs write: `$HARNESS_MLRUNS`, or `mlruns/`."""
    return Path(os.environ.get("HARNESS_MLRUNS") or PROJECT / "mlruns").expanduser().resolve()


def check_mlruns() -> None:
    """Raise BadInput if `mlruns/` can be no folder."""
    named = f"$HARNESS_MLRUNS={os.environ.get('HARNESS_MLRUNS', '')}"
    try:
        if mlruns().exists() and not mlruns().is_dir():
            raise BadInput(f"{named} is no folder: runs and their results are written to one.")
        if len(os.fsencode(mlruns())) > LONGEST:
            raise BadInput(f"{named} is longer than the {LONGEST} bytes that a path with a database may have.")
    # RuntimeError: links that lead to each other.
    except (OSError, RuntimeError) as error:
        raise BadInput(f"{named} cannot be opened ({first_line(error)}): name a folder to write runs to.") from error


def fix_mlruns() -> None:
    """Name the folder by its resolved path in this process and its children.

    Another folder may be put in its place while a command runs, by a link that is set anew.
    """
    os.environ["HARNESS_MLRUNS"] = str(mlruns())


def printable(path: Path) -> str:
    """Return a path as text that any file and any database takes: bytes that are no UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_read_only() -> bool:
    """Whether nothing can be written to `mlruns/`, as on a mount of somebody else's results."""
    return mlruns().exists() and not os.access(mlruns(), os.W_OK)


def cache() -> Path:
    """Return the folder for decoded and downloaded data, and compiled programs.

    It is `$HARNESS_CACHE`, or the user's cache folder: `~/.cache/cnn-harness` on Linux.
    """
    return given("HARNESS_CACHE") or Path(platformdirs.user_cache_dir("cnn-harness"))


def given(variable: str) -> Path | None:
    """Return the path that a variable of the environment names, None if it is not set. Raises BadInput for no path."""
    chosen = os.environ.get(variable)
    try:
        return Path(chosen).expanduser() if chosen else None
    except RuntimeError as error:  # ~somebody, who is no user here
        raise BadInput(f"${variable}={chosen} names no folder ({first_line(error)}): correct it.") from error


def ensure_home() -> None:
    """Set `$HOME` for a user who has none: no such variable and no entry in /etc/passwd.

    To a folder in `mlruns/`, or to that of temporary files if `mlruns/` cannot be written to. Keras, matplotlib and
    others would create a folder called `~` where the command was given.
    """
    if not os.path.isabs(os.path.expanduser("~")):
        home = mlruns() / "home"
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError:
            home = Path(tempfile.gettempdir())
        os.environ["HOME"] = str(home)


def sqlite_url(file: Path) -> str:
    """Return the URL of an sqlite database for SQLAlchemy, MLflow and Optuna.

    A `?` would begin the options of the URL, and `%25` would be read as `%`.
    """
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"
