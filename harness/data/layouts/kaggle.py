"""Reader for the layout of Kaggle's competition: `train/1.png ...` with `trainLabels.csv`, columns id and label.

Kaggle gives no labels of its test pictures, which are 300,000 with only 10,000 of CIFAR-10 among them. So a copy can be
used only with a `testLabels.csv` of the same columns, which names the pictures in `test/` that count.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import CIFAR10_CLASSES, IMAGE_SHAPE, Decoded, Images, Labels
from harness.data.layouts.source import ANOTHER_COPY, content_key, decode_picture, regular

PARTS = ("train", "test")


@dataclass(frozen=True)
class KaggleFolder:
    """A folder with the pictures and the tables of their labels."""

    path: Path
    layout: str = "Kaggle"

    def key(self) -> str:
        return content_key(self.layout, [file for part in PARTS for file in (self._table(part), *self._files(part))])

    def decode(self) -> Decoded:
        return Decoded(*self._read("train"), *self._read("test"))

    def _table(self, part: str) -> Path:
        table = self.path / f"{part}Labels.csv"
        if not table.is_file():
            raise BadInput(
                f"{self.path} has no {table.name}: Kaggle's competition keeps the labels of its test pictures secret, "
                f"so that no accuracy can be measured with this copy alone. {ANOTHER_COPY}"
            )
        return table

    def _labels(self, part: str) -> list[tuple[int, str]]:
        """Return number and class name of each picture, by number."""
        table = self._table(part)
        try:
            with table.open(newline="", encoding="utf-8-sig") as stream:
                return sorted((int(row["id"]), row["label"]) for row in csv.DictReader(stream))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise BadInput(f"{table} is no table with the columns id and label ({error}). {ANOTHER_COPY}") from error

    def _files(self, part: str) -> list[Path]:
        return [self.path / part / f"{number}.png" for number, _ in self._labels(part)]

    def _read(self, part: str) -> tuple[Images, Labels]:
        labels = [name for _, name in self._labels(part)]
        if unknown := sorted(set(labels) - set(CIFAR10_CLASSES)):
            raise BadInput(f"{self._table(part)} has the label {unknown[0]!r}, no class of CIFAR-10. {ANOTHER_COPY}")
        files = self._files(part)
        images = np.empty((len(files), *IMAGE_SHAPE), np.uint8)
        for row, file in enumerate(files):
            images[row] = decode_picture(regular(file).read_bytes(), str(file))
        return images, np.array([CIFAR10_CLASSES.index(name) for name in labels], np.uint8)


def find(folder: Path) -> KaggleFolder | None:
    """Return Kaggle's layout in `folder`, recognised by its table of training labels; None if there is none."""
    return KaggleFolder(folder) if (folder / "trainLabels.csv").is_file() else None
