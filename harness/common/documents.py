"""Read JSON files that may be damaged, made by another version, or made to do harm.

A file has to be a regular file of limited size whose JSON has the declared type: a dataclass, a TypedDict or a
container of these. Nothing is converted, unknown names are refused, and so are terminal escapes in texts.
"""

import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = lazy_import("pydantic")

T = TypeVar("T")

#: Bytes. The largest file is the history of a long run with probes, less than 1 MB.
LARGEST = 16 * 1024**2

#: Control characters but tabs and newlines, as JSON escapes them or as UTF-8.
#: An escape begins with a backslash that is not itself escaped: `\\\\file` is a path.
CONTROL = re.compile(rb"(?<!\\)(?:\\\\)*\\(?:u00(?:0[0-8bce-f]|1.|7f|[89].)|[bf])|\x7f|\xc2[\x80-\x9f]", re.IGNORECASE)


def parse(content: bytes | str, kind: Any) -> Any:
    """Return JSON as a value of the type `kind`. Raises ValueError, one line that names the field."""
    raw = content.encode() if isinstance(content, str) else content
    if CONTROL.search(raw):
        raise ValueError("it has control characters in a text")
    try:
        return _adapter(kind).validate_json(raw, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        shown = f" and not {str(first['input'])[:40]!r}" if isinstance(first["input"], str | int | float | None) else ""
        raise ValueError(f"{where}: {what}{shown}" if where else what) from None


def read_json(file: Path, kind: Any) -> Any:
    """Return the content of a JSON file as a value of the type `kind`. Raises OSError or ValueError."""
    return parse(read_bytes(file), kind)


def read_bytes(file: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a regular file of at most `largest` bytes. Raises OSError or ValueError."""
    # Without O_NONBLOCK, a pipe that nobody writes to would be waited for.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > largest:
            raise ValueError(f"it has {status.st_size:,} bytes, more than {largest:,}")
        return stream.read()


@cache
def _adapter(kind: Any) -> "pydantic.TypeAdapter[Any]":
    return pydantic.TypeAdapter(kind)
