"""What every reader offers, and what the readers share."""

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

# Modes that become RGB without loss. Transparency, CMYK and 16-bit pictures would need a choice that changes the
# pixels, and no copy of CIFAR-10 has them: refused rather than guessed.
LOSSLESS_MODES = ("RGB", "L", "P")
FIX = "Replace it by a good copy, or point $CIFAR10_DIR at another data set."


def decode_picture(content: bytes, where: str) -> Images:
    """uint8 [32, 32, 3], RGB. Raises BadInput, naming `where`, on a damaged picture, another size or mode."""
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
    """A data set found on disk and not yet read. Its methods raise BadInput, naming the file."""

    @property
    def layout(self) -> str:
        """How it is stored, in words."""

    @property
    def path(self) -> Path:
        """The file or folder that messages name."""

    def key(self) -> str:
        """A hex sha256 that changes when the files do: the cache finds the decoded arrays by it."""

    def decode(self) -> Decoded:
        """All images and labels, in the order of the files."""


def content_key(layout: str, files: Iterable[Path]) -> str:
    """The key of a source that consists of a few files: over the layout, and each file's name and bytes."""
    digest = hashlib.sha256(layout.encode())
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(os.fsencode(f"\n{file.name} {content}"))
    return digest.hexdigest()


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Turn the system's refusal to read something under `place` into a message that a user can act on."""
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
