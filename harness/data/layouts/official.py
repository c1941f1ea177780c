"""Readers for the two versions on https://www.cs.toronto.edu/~kriz/cifar.html, unpacked or still in their archive.

Both consist of six files, `data_batch_1` to `data_batch_5` and `test_batch`, with 10,000 images each.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import Decoded, Images, Labels
from harness.data.layouts import pickled
from harness.data.layouts.source import ANOTHER_COPY, content_key

RECORD_BYTES = 1 + 3 * 32 * 32


def read_binary_batch(content: bytes, where: str) -> tuple[Images, Labels]:
    """Return images uint8 [n, 32, 32, 3] and labels uint8 [n]. where: name for messages.

    Raises BadInput if the last record is incomplete.
    """
    records, rest = divmod(len(content), RECORD_BYTES)
    if rest:
        raise BadInput(
            f"{where} is truncated or damaged: {len(content):,} bytes, which is {records:,} images of "
            f"{RECORD_BYTES:,} bytes and {rest:,} bytes of another. {ANOTHER_COPY}"
        )
    table = np.frombuffer(content, np.uint8).reshape(records, RECORD_BYTES)
    images = table[:, 1:].reshape(records, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), table[:, 0]


TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH = "test_batch"


@dataclass(frozen=True)
class Version:
    """One of the official versions: its names, and the function that reads one of its six files."""

    layout: str
    archive: str
    archive_md5: str
    archive_bytes: int
    folder: str  # what the archive unpacks to
    suffix: str  # of the six files
    read: Callable[[bytes, str], tuple[Images, Labels]]  # (content, name for messages) -> images, labels

    @property
    def batches(self) -> tuple[str, ...]:
        """The names of the six files, the test set last."""
        return tuple(f"{batch}{self.suffix}" for batch in (*TRAIN_BATCHES, TEST_BATCH))


BINARY = Version(
    layout="official binary",
    archive="cifar-10-binary.tar.gz",
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
    archive_bytes=170_052_171,
    folder="cifar-10-batches-bin",
    suffix=".bin",
    read=read_binary_batch,
)
PYTHON = Version(
    layout="official python",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    archive_bytes=170_498_071,
    folder="cifar-10-batches-py",
    suffix="",
    read=pickled.read_batch,
)
VERSIONS = (BINARY, PYTHON)  # the one without pickles first


@dataclass(frozen=True)
class BatchFolder:
    """The six files of an official version in a folder."""

    version: Version
    path: Path

    @property
    def layout(self) -> str:
        return self.version.layout

    def key(self) -> str:
        return content_key(self.layout, self._files())

    def decode(self) -> Decoded:
        return _join([self.version.read(file.read_bytes(), str(file)) for file in self._files()])

    def _files(self) -> list[Path]:
        files = [self.path / batch for batch in self.version.batches]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise BadInput(f"{self.path} lacks {', '.join(missing)} of the {self.layout} version. {ANOTHER_COPY}")
        return files


@dataclass(frozen=True)
class BatchArchive:
    """The six files of an official version in its .tar.gz archive, which is read without unpacking it."""

    version: Version
    path: Path

    @property
    def layout(self) -> str:
        return f"{self.version.layout} archive"

    def key(self) -> str:
        return content_key(self.layout, [self.path])

    def decode(self) -> Decoded:
        if problem := defect(self.path, self.version):
            raise BadInput(
                f"{self.path} {problem}. Delete it and run the same command again, which downloads it, or point "
                f"$CIFAR10_DIR at a complete copy."
            )
        batches = {}
        try:
            with tarfile.open(self.path) as archive:
                for member in archive:  # in the archive's order: going back would decompress it again
                    name = Path(member.name).name
                    stream = archive.extractfile(member) if name in self.version.batches else None
                    if stream is not None:
                        batches[name] = self.version.read(stream.read(), f"{self.path}, {member.name}")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise BadInput(f"{self.path} cannot be unpacked: {error}. {ANOTHER_COPY}") from error
        missing = [name for name in self.version.batches if name not in batches]
        if missing:
            raise BadInput(f"{self.path} lacks {', '.join(missing)}. {ANOTHER_COPY}")
        return _join([batches[name] for name in self.version.batches])._replace(verified=True)


def find_folder(folder: Path) -> BatchFolder | None:
    """Return the unpacked files of an official version, from `folder` or the folder that its archive unpacks to.

    Keras 3 unpacks it into another folder, in its cache `~/.keras/datasets`.
    """
    for version in VERSIONS:
        for candidate in (folder, folder / version.folder, folder / f"{version.folder}-target" / version.folder):
            if any((candidate / batch).exists() for batch in version.batches):
                return BatchFolder(version, candidate)
    return None


def find_archive(folder: Path) -> BatchArchive | None:
    """Return the official archive in `folder`, recognised by its name; None if there is none."""
    for version in VERSIONS:
        if (folder / version.archive).is_file():
            return BatchArchive(version, folder / version.archive)
    return None


def archive_at(file: Path) -> BatchArchive | None:
    """Return `file` as an official archive, recognised by its name; None if it is none."""
    for version in VERSIONS:
        if file.name == version.archive:
            return BatchArchive(version, file)
    return None


def defect(file: Path, version: Version) -> str | None:
    """Return why `file` is not the official archive byte for byte, as the end of a sentence; None if it is."""
    size = file.stat().st_size
    if size < version.archive_bytes:
        return f"is truncated: {size:,} of {version.archive_bytes:,} bytes"
    with file.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 != version.archive_md5:
        return f"has the wrong checksum: md5 {md5} instead of {version.archive_md5}"
    return None


def _join(batches: list[tuple[Images, Labels]]) -> Decoded:
    *train, (test_images, test_labels) = batches
    return Decoded(
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        test_images,
        test_labels,
    )
