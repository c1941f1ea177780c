"""The MLflow database in `mlruns/`: created once, moved with its folder, and asked without importing MLflow."""

import atexit
import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import pathname2url

import filelock

from harness.common import paths
from harness.common.lazy import lazy_import

sqlalchemy_store = lazy_import("mlflow.store.tracking.sqlalchemy_store")

#: Seconds to wait for another process that holds the database.
PATIENCE = 20


#: Copies of databases that cannot be written to, by their folder.
_copies: dict[Path, Path] = {}


def database() -> Path:
    """Return the path of the database, or of this process's copy of one that was moved and cannot be written to."""
    return _copies.get(paths.mlruns(), paths.mlruns()) / "mlflow.db"


def location(folder: Path) -> str:
    """Return a folder as MLflow stores it: it reads `%25` in a path as `%`, but not in a URL."""
    return folder.as_uri() if "%" in str(folder) else str(folder)


def is_missing() -> bool:
    """Whether there is no database, or an empty file in its place."""
    try:
        return database().stat().st_size == 0
    except FileNotFoundError:
        return True


def create() -> None:
    """Create the database under a lock and atomically: processes that open a missing one at the same time all fail."""
    path = database()
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if is_missing():
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            sqlalchemy_store.SqlAlchemyStore(paths.sqlite_url(new), location(path.parent / "artifacts"))
            # Those of a lost database would be taken for ones of the new database, and written into it.
            for part in _parts(path):
                part.unlink(missing_ok=True)
            os.replace(new, path)


def has_ended(run_id: str) -> bool:
    """Whether the database has a run, and all of it: its status and its tag `outcome`. A deleted one counts as such.

    Raises sqlite3.Error if the database is damaged, or locked for too long.
    """
    if is_missing():
        return False
    ended = (
        "SELECT lifecycle_stage = 'deleted' OR (status != 'RUNNING' AND EXISTS (SELECT 1 FROM tags t "
        "WHERE t.run_uuid = r.run_uuid AND t.key = 'outcome')) FROM runs r WHERE run_uuid = ?"
    )
    with _connected() as connection:
        return connection.execute(ended, [run_id]).fetchone() == (1,)


def follow_the_folder() -> None:
    """Rewrite the places of artifacts, which MLflow stores as absolute paths, if `mlruns/` was moved or copied.

    Only those of the experiments of this harness: others may have chosen a place outside. One transaction. Where
    `mlruns/` is read-only, this process uses a copy of the database.
    """
    with _connected() as connection:
        if not _moved(connection):
            return
    if paths.is_read_only():
        _work_on_a_copy()
    with _connected() as connection:
        connection.execute("BEGIN IMMEDIATE")
        for experiment, old, new in _moved(connection):
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", [new, experiment]
            )
            for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE experiment_id = ? AND substr({column}, 1, ?) = ?",
                    [new, len(old) + 1, experiment, len(old) + 1, f"{old}/"],
                )
            connection.execute(
                "UPDATE model_versions SET storage_location = ? || substr(storage_location, ?) "
                "WHERE substr(storage_location, 1, ?) = ?",
                [new, len(old) + 1, len(old) + 1, f"{old}/"],
            )
        connection.execute("COMMIT")


def _moved(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """Return the experiments whose artifacts are no longer where the database says: (id, old place, new place)."""
    ours = (
        "SELECT experiment_id, artifact_location FROM experiments e WHERE experiment_id = 0 OR EXISTS (SELECT 1 FROM "
        "runs r JOIN tags t ON t.run_uuid = r.run_uuid WHERE r.experiment_id = e.experiment_id "
        "AND t.key IN ('run_key', 'kind', 'variant'))"
    )
    moved = []
    for experiment, old in connection.execute(ours).fetchall():
        place = Path(unquote(urlsplit(old).path)) if old.startswith("file:") else Path(old)
        new = paths.mlruns() / "artifacts" / place.name
        elsewhere = place.is_absolute() and place.parent.name == "artifacts" and place != new
        if elsewhere and (new.exists() or not place.exists()):
            moved.append((experiment, old, location(new)))
    return moved


@contextlib.contextmanager
def _connected() -> Iterator[sqlite3.Connection]:
    """Connect for writing even to read: sqlite then takes back what a process that was killed had half written."""
    if paths.is_read_only() and _is_half_written():
        _work_on_a_copy()
    address = f"file:{pathname2url(str(database()))}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
        yield connection


def _is_half_written() -> bool:
    return any(part.exists() and part.stat().st_size for part in _parts(database()))


def _parts(path: Path) -> list[Path]:
    """Return where sqlite keeps a transaction that has not ended."""
    return [path.with_name(f"{path.name}{part}") for part in ("-journal", "-wal", "-shm")]


def _work_on_a_copy() -> None:
    """Let this process work on a copy of the database, where `mlruns/` is read-only."""
    if paths.mlruns() in _copies:
        return
    folder = Path(tempfile.mkdtemp(prefix="harness-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in (database(), *filter(Path.exists, _parts(database()))):
        shutil.copyfile(file, folder / file.name)
    _copies[paths.mlruns()] = folder
