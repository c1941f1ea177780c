"""The interface of the readers, and helpers that they share."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.data.dataset import IMAGE_SHAPE, Decoded, Images

Image = lazy_import("PIL.Image")

# Modes that convert to RGB without loss. Transparency, CMYK and 16-bit pictures would need a choice that changes the
# pixels, and no copy of CIFAR-10 has them, so they are refused.
LOSSLESS_MODES = ("RGB", "L", "P")
FIX = "Replace it by a good copy, or point $CIFAR10_DIR at another data set."


def decode_picture(content: bytes, where: str) -> Images:
    """Decode a PNG or JPEG file to uint8 [32, 32, 3], RGB.

    Raises BadInput, which names `where`, for a damaged picture, another size or another mode.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            size, mode = picture.size, picture.mode
            if (size[1], size[0], 3) == IMAGE_SHAPE and mode in LOSSLESS_MODES:  # before any pixel is decoded
                return np.asarray(picture if mode == "RGB" else picture.convert("RGB"))
    except Exception as error:  # a damaged file can fail anywhere in Pillow's parsers
        reason = "not a PNG or JPEG" if "cannot identify" in str(error) else error
        raise BadInput(f"{where}: the picture is corrupt ({reason}). {FIX}") from error
    if mode not in LOSSLESS_MODES:
        raise BadInput(f"{where}: the picture has mode {mode}; only RGB, gray and palette are read. {FIX}")
    raise BadInput(f"{where}: the picture is {size[0]}x{size[1]} pixels, CIFAR-10 is 32x32. {FIX}")


ANOTHER_COPY = "Replace it by a complete copy, or point $CIFAR10_DIR at one."


class Source(Protocol):
    """A data set that was found on disk and is not yet read. Its methods raise BadInput, which names the file."""

    @property
    def layout(self) -> str:
        """The name of the layout, for the user."""

    @property
    def path(self) -> Path:
        """The file or folder, for messages."""

    def key(self) -> str:
        """Return a hex sha256 that changes when the files change. It is the key of the decoded arrays in the cache."""

    def decode(self) -> Decoded:
        """Return all images and labels, in the order of the files."""


def content_key(layout: str, files: Iterable[Path]) -> str:
    """Return the key of a source with a few files: the hash of the layout, and of each file's name and content."""
    digest = hashlib.sha256(layout.encode())
    for file in files:
        with regular(file).open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(os.fsencode(f"\n{file.name} {content}"))
    return digest.hexdigest()


def regular(file: Path) -> Path:
    """Return the file. Raises BadInput if it is a pipe or a device: to read those might never end."""
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise BadInput(f"{file} is no regular file. {ANOTHER_COPY}")
    return file


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Turn an OSError from reading something under `place` into a BadInput that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise BadInput(
            f"{error.filename or place} cannot be read: permission denied. Give yourself the right to read it "
            f"(chmod -R u+rX), or point $CIFAR10_DIR at a copy you can read."
        ) from error
    except FileNotFoundError as error:
        raise BadInput(f"{error.filename or place} does not exist. {ANOTHER_COPY}") from error
    except OSError as error:
        raise BadInput(
            f"{error.filename or place} cannot be read: {error.strerror or error}. {ANOTHER_COPY}"
        ) from error
