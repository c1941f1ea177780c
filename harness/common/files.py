"""Files that are whole: what is written here is all there or not there at all, whenever the process is killed."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock

from harness.common.errors import HarnessError

#: What the name of a file ends with while it is being written.
UNFINISHED = ".new"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` only when complete and on the disk. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two processes that write the same file must not write into each other's.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are their owner's alone; these are as any other file would be.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left half written of files of that name. Nobody else may be writing them."""
    for file in folder.glob(f"{name}.*{UNFINISHED}"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """`replacing`, with an error that says what is safe and what to do. Raises HarnessError."""
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise HarnessError(
            f"{path} could not be written: {error.strerror or error}. What it held before is intact; free some "
            f"space (or mend the folder's permissions) and give the same command again (without --fresh): it goes on "
            f"from there."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole. Raises HarnessError when the disk will not take it."""
    with atomic(path) as file:
        file.write(content)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold `file` as a lock between processes. Raises OSError where its folder is missing or read-only."""
    with filelock.FileLock(file):
        try:
            yield
        finally:
            # While it is held: filelock makes a waiter that got the removed file try again. (Windows keeps it.)
            with contextlib.suppress(OSError):
                file.unlink()
