"""Download the official binary archive once, into the user's cache. An interrupted download is continued."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.common.files import locked
from harness.common.lazy import lazy_import
from harness.data.layouts.official import BINARY, defect

if TYPE_CHECKING:
    import requests
    import rich.console as rich_console
    import rich.progress as rich_progress
    from rich.progress import Progress
    from urllib3 import exceptions as urllib3_errors
else:
    requests = lazy_import("requests")
    rich_console = lazy_import("rich.console")
    rich_progress = lazy_import("rich.progress")
    urllib3_errors = lazy_import("urllib3.exceptions")

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
TIMEOUT = (5, 60)  # seconds to connect (short, so that a machine without network fails soon), and between two pieces
PIECE = 1 << 18  # bytes

log = logging.getLogger("harness")


class Unavailable(HarnessError):
    """There is no network, or the server fails. The message is a clause that callers put into their own sentence."""


def url() -> str:
    """Return the URL of the archive: `$CIFAR10_URL`, or the one on the authors' server."""
    return os.environ.get("CIFAR10_URL") or OFFICIAL_URL


def folder() -> Path:
    """Return the folder of the downloads."""
    return paths.cache() / "downloads"


def download() -> Path:
    """Download the archive, check it and return its path. Continues the `.part` file of an earlier try if possible.

    Raises:
        Unavailable: no network, or the server failed; the received part is kept.
        BadInput: the wrong checksum (the received file is deleted), or a folder that cannot be written.
    """
    target = folder() / BINARY.archive
    part = folder() / f"{BINARY.archive}.part"
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with locked(folder() / f"{BINARY.archive}.lock"):
            if not target.exists():  # another process may have fetched it while this one waited
                _receive(part)
                _verify(part)
                part.replace(target)
    except OSError as error:
        raise BadInput(
            f"{target} cannot be written: {error.strerror or error}. Make room there, or point $HARNESS_CACHE at "
            f"another folder."
        ) from error
    return target


def _verify(part: Path) -> None:
    if problem := defect(part, BINARY):
        part.unlink()
        raise BadInput(
            f"What {url()} sent {problem}. It has been deleted: run the same command again, or name another mirror "
            f"in $CIFAR10_URL, or point $CIFAR10_DIR at a copy you have."
        )


def _receive(part: Path) -> None:
    """Download `part` completely. Reconnect after a broken connection as long as each connection receives something."""
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
    )
    with rich_progress.Progress(*columns, console=rich_console.Console(stderr=True)) as progress:
        while True:
            before = _size(part)
            try:
                return _continue(part, progress)
            except (
                requests.exceptions.InvalidSchema,
                requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema,
            ) as error:
                raise BadInput(f"$CIFAR10_URL is {url()}, which is no http(s) address. Correct or unset it.") from error
            except (requests.RequestException, urllib3_errors.HTTPError) as error:
                if _size(part) <= before:
                    raise Unavailable(_reason(error, part)) from error
                log.info("the download broke off after %s bytes: %s", f"{_size(part):,}", error)


def _continue(part: Path, progress: "Progress") -> None:
    """Request the rest of `part` once. Raises the error of requests or urllib3 if the connection breaks."""
    have = _size(part)
    # No transfer encoding: Range would otherwise count the bytes of the encoded file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url(), headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is left to download; the checksum shows whether the file is right
        response.raise_for_status()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the server sends the whole file: start over
        length = response.headers.get("Content-Length")
        task = progress.add_task(
            f"Downloading {BINARY.archive}", completed=have, total=have + int(length) if length else None
        )
        with part.open("ab" if have else "wb") as file:
            for piece in response.raw.stream(PIECE, decode_content=False):
                file.write(piece)
                progress.advance(task, len(piece))
            file.flush()
            os.fsync(file.fileno())


def _reason(error: Exception, part: Path) -> str:
    if isinstance(error, requests.HTTPError):
        return f"{url()} answers {error.response.status_code} {error.response.reason}"
    if _size(part):
        return f"{url()} broke off after {_size(part):,} bytes, which are kept: the next try goes on from there"
    return f"{url()} cannot be reached"


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
