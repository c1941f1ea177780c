"""One writer at a time, without leaving a lock file behind."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold `file` as a lock between processes. Raises OSError where its folder is missing or read-only."""
    with FileLock(file):
        try:
            yield
        finally:
            # While it is held: filelock makes a waiter that got the removed file try again. (Windows keeps it.)
            with suppress(OSError):
                file.unlink()
