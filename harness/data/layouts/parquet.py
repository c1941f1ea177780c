"""Reader for the Hugging Face layout: `train-*.parquet` and `test-*.parquet`, one or several shards of each.

Columns: `img` or `image`, a struct whose field `bytes` is a PNG or JPEG file, and `label`, an integer. Copies that were
exported by a program have one `train.parquet`, or a folder `train/` of shards.
"""

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.data.dataset import IMAGE_SHAPE, Decoded, Images, Labels
from harness.data.layouts.source import ANOTHER_COPY, content_key, decode_picture, regular

pa = lazy_import("pyarrow")
pq = lazy_import("pyarrow.parquet")


@dataclass(frozen=True)
class ParquetFolder:
    """A folder with the training and test shards."""

    path: Path
    layout: str = "Hugging Face parquet"

    def key(self) -> str:
        return content_key(self.layout, [*self._require("train"), *self._require("test")])

    def decode(self) -> Decoded:
        return Decoded(*_read(self._require("train")), *_read(self._require("test")))

    def _require(self, part: str) -> list[Path]:
        shards = _shards(self.path, part)
        if not shards:
            raise BadInput(f"{self.path} has no {part}-*.parquet. {ANOTHER_COPY}")
        return shards


def find(folder: Path) -> ParquetFolder | None:
    """Return the shards in `folder` or in its subfolder `plain_text/` (the configuration's name) or `data/`."""
    for candidate in (folder, folder / "plain_text", folder / "data"):
        if candidate.is_dir() and (_shards(candidate, "train") or _shards(candidate, "test")):
            return ParquetFolder(candidate)
    return None


def _shards(folder: Path, part: str) -> list[Path]:
    # listdir, because Path.glob treats a folder without read permission as empty
    found = [folder / name for name in sorted(os.listdir(folder)) if fnmatch(name, f"{part}-*.parquet")]
    if not found and (folder / f"{part}.parquet").is_file():
        return [folder / f"{part}.parquet"]
    if not found and (folder / part).is_dir():
        return [folder / part / name for name in sorted(os.listdir(folder / part)) if fnmatch(name, "[!.]*.parquet")]
    return found


def _read(shards: list[Path]) -> tuple[Images, Labels]:
    parts = [read_shard(shard) for shard in shards]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def read_shard(shard: Path) -> tuple[Images, Labels]:
    try:
        # Open the file with Python: pyarrow's errors lack the file's name and the reason if reading is not permitted.
        with regular(shard).open("rb") as stream:
            table = pq.read_table(stream)
    except (pa.ArrowException, EOFError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # The disk's error. pyarrow's own have no number.
        reason = str(error).splitlines()[0]
        raise BadInput(f"{shard} is truncated or damaged: {reason}. {ANOTHER_COPY}") from error
    column = next((name for name in ("img", "image") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise BadInput(
            f"{shard} has the columns {', '.join(table.column_names)}; CIFAR-10 has img (or image) and label. "
            f"{ANOTHER_COPY}"
        )
    pictures, labels = table[column], table["label"]
    if not pa.types.is_struct(pictures.type) or "bytes" not in {field.name for field in pictures.type}:
        raise BadInput(f"{shard} keeps no picture bytes in the column {column}. {ANOTHER_COPY}")
    if not pa.types.is_integer(labels.type) or labels.null_count:
        raise BadInput(f"{shard} has labels that are no whole numbers, or missing. {ANOTHER_COPY}")

    images = np.empty((table.num_rows, *IMAGE_SHAPE), np.uint8)
    row = 0
    for chunk in pictures.chunks:
        for content in chunk.field("bytes"):
            images[row] = decode_picture(content.as_py() or b"", f"{shard}, row {row:,}")
            row += 1
    return images, labels.to_numpy()
