"""Files that are whole: what is written here is all there or not there at all, whenever the process is killed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.common.errors import HarnessError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Any]:
    """A file to write that takes the place of `path` only when complete and on the disk."""
    # One name, so that a process killed while it writes leaves at most one file, and the next one overwrites it.
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(new, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        os.replace(new, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
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
