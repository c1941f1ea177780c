"""Small data sets, written in every layout that harness.data reads."""

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from harness.data.dataset import Decoded

TRAIN, TEST = 100, 20


def small(train: int = TRAIN, test: int = TEST, seed: int = 0) -> Decoded:
    """Random pixels; every class equally often, mixed."""
    rng = np.random.default_rng(seed)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), labels

    return Decoded(*part(train), *part(test))


def batches(data: Decoded) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images and labels of the six official files."""
    train = zip(np.array_split(data.train_images, 5), np.array_split(data.train_labels, 5), strict=True)
    named = {f"data_batch_{i}": batch for i, batch in enumerate(train, 1)}
    return {**named, "test_batch": (data.test_images, data.test_labels)}


def planar(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_binary(folder: Path, data: Decoded) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches(data).items():
        records = np.concatenate([labels[:, None].astype(np.uint8), planar(images)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, and numpy's modules by their old names: as in the official files."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2_pickle(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_python(folder: Path, data: Decoded) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches(data).items():
        batch = {b"batch_label": name.encode(), b"data": planar(images), b"labels": labels.tolist()}
        (folder / name).write_bytes(python2_pickle(batch))
    return folder


def png(image: np.ndarray, suffix: str = "png") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG" if suffix in ("jpg", "jpeg") else "PNG", compress_level=1)
    return stream.getvalue()


def write_shard(file: Path, pictures: list[bytes | None], labels: list[int | None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    struct_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    column = pa.array([{"bytes": picture, "path": None} for picture in pictures], struct_type)
    pq.write_table(pa.table({"img": column, "label": pa.array(labels, pa.int64())}), file, row_group_size=16)


def write_parquet(folder: Path, data: Decoded, shards: int = 1) -> Path:
    for part, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        pieces = zip(np.array_split(images, shards), np.array_split(labels, shards), strict=True)
        for i, (some_images, some_labels) in enumerate(pieces):
            file = folder / f"{part}-{i:05}-of-{shards:05}.parquet"
            write_shard(file, [png(image) for image in some_images], some_labels.astype(np.int64).tolist())
    return folder


def write_tree(folder: Path, data: Decoded, suffix: str = "png") -> Path:
    for part, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = folder / part / data.class_names[label] / f"{i:05}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image, suffix))
    return folder


def write_archive(file: Path, folder: Path) -> Path:
    """`folder` packed under its own name, as the official archives are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=folder.name)
    return file


def listing(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its content, for "left as it was"."""
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
