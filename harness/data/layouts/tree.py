"""Reader for a folder tree, `train/<class>/*.png|jpg|jpeg` and `test/<class>/...`, classes in alphabetical order."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import IMAGE_SHAPE, Decoded, Images, Labels
from harness.data.layouts.source import ANOTHER_COPY, decode_picture, regular

SUFFIXES = (".png", ".jpg", ".jpeg")
PARTS = ("train", "test")
CLASSES = 10


@dataclass(frozen=True)
class PictureTree:
    """A folder tree with one picture file per image, sorted by name within a class."""

    path: Path
    layout: str = "folder tree"

    def key(self) -> str:
        # Hash each file's size and modification time instead of its content: reading 60,000 small files takes longer
        # than the cache saves, and all usual ways to change a file change its modification time.
        digest = hashlib.sha256(os.fsencode(f"{self.layout}\n{self.path.resolve()}"))
        for part in PARTS:
            for name in self._classes():
                for entry in _pictures(self.path / part / name):
                    status = entry.stat()
                    line = f"\n{part}/{name}/{entry.name} {status.st_size} {status.st_mtime_ns}"
                    digest.update(os.fsencode(line))
        return digest.hexdigest()

    def decode(self) -> Decoded:
        classes = self._classes()
        train, test = (_read(self.path / part, classes) for part in PARTS)
        return Decoded(*train, *test, class_names=classes)

    def _classes(self) -> tuple[str, ...]:
        """Return the ten class names. Raises BadInput if train and test do not have the same ten."""
        train, test = (_folders(self.path / part) for part in PARTS)
        if len(train) != CLASSES or train != test:
            missing = sorted(set(train) ^ set(test))
            detail = f"; in only one of the two: {', '.join(missing)}" if missing else ""
            raise BadInput(
                f"{self.path} has {len(train)} class folders in train/ and {len(test)} in test/{detail}. CIFAR-10 has "
                f"the same {CLASSES} in both: a class is missing or too many. {ANOTHER_COPY}"
            )
        return train


def find(folder: Path) -> PictureTree | None:
    """Return the tree in `folder`, recognised by class folders in train/ or test/; None if there is none."""
    if any((folder / part).is_dir() and _folders(folder / part) for part in PARTS):
        return PictureTree(folder)
    return None


def _folders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not _is_litter(entry.name)))


def _is_litter(name: str) -> bool:
    """Whether a system left that file or folder: macOS puts `._0001.png` beside each picture on other disks."""
    return name.startswith(".") or name == "__MACOSX"


def _pictures(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        pictures = [entry for entry in entries if entry.name.lower().endswith(SUFFIXES) and not _is_litter(entry.name)]
    return sorted(pictures, key=lambda entry: entry.name)


def _read(part: Path, classes: tuple[str, ...]) -> tuple[Images, Labels]:
    files = [(entry.path, label) for label, name in enumerate(classes) for entry in _pictures(part / name)]
    images = np.empty((len(files), *IMAGE_SHAPE), np.uint8)
    for row, (file, _) in enumerate(files):
        images[row] = decode_picture(regular(Path(file)).read_bytes(), file)
    return images, np.array([label for _, label in files], np.uint8)
