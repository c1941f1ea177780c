"""Atomic file writes: after a kill at any moment, a file has its complete new content or its old one."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock

from harness.common.errors import BadInput, HarnessError

#: The suffix of a file's name while the file is being written.
UNFINISHED = ".new"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` only when it is complete and on the disk. Raises OSError.

    A device, a pipe or a folder is not replaced. Of a link, the file that it leads to is.
    """
    path = Path(os.path.realpath(path))  # which raises nothing for links that lead to each other
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there and no regular file")
    # A unique name, so that two processes that write the same `path` do not write into the same file.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are readable only by their owner: set the usual permissions.
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
    """Remove unfinished files that killed processes left. No other process may be writing files of that name."""
    for file in folder.glob(f"{name}.*{UNFINISHED}"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Like `replacing`, but raise a HarnessError that says what is safe and what to do.

    BadInput where a file is in the place of a folder, or something else in that of the file.
    """
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        check_folder(path.parent, f"{path} could not be written")
        if os.path.exists(path) and not os.path.isfile(path):
            raise BadInput(f"{path} could not be written: it is there and no regular file. Give a file.") from error
        raise HarnessError(
            f"{path} could not be written: {error.strerror or error}. What it held before is intact; free some "
            f"space (or mend the folder's permissions) and give the same command again (without --fresh): it goes on "
            f"from there."
        ) from error


def check_folder(folder: Path, what: str) -> None:
    """Raise BadInput, beginning with `what`, if a file is where this folder or one above it would be."""
    for place in (folder, *folder.parents):
        # Path.exists() raises PermissionError where one may not look.
        if os.path.exists(place) and not os.path.isdir(place):
            raise BadInput(f"{what}, as {place} is a file: give a folder.")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content atomically. Raises HarnessError if it cannot be written."""
    with atomic(path) as file:
        file.write(content)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold `file` as a lock between processes. Raises OSError if its folder is missing or read-only."""
    with filelock.FileLock(file):
        try:
            yield
        finally:
            # Remove the file while the lock is held: a waiting process that locked the removed file tries again, thanks
            # to filelock. Windows does not remove it.
            with contextlib.suppress(OSError):
                file.unlink()
