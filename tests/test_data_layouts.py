"""Every layout gives the same images, labels and name."""

import hashlib
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_builders import (
    batches,
    planar,
    png,
    python2_pickle,
    small,
    write_archive,
    write_binary,
    write_parquet,
    write_python,
    write_shard,
    write_tree,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import data
from harness.common.errors import BadInput
from harness.data import dataset as known
from harness.data.dataset import IMAGE_SHAPE, Decoded, fingerprint
from harness.data.layouts import recognise
from harness.data.layouts.parquet import read_shard
from harness.data.layouts.pickled import RestrictedUnpickler, read_batch
from harness.data.layouts.source import decode_picture

pytest_plugins = "data_fixtures"


def decode(place: Path) -> Decoded:
    source = recognise(place)
    assert source is not None
    return source.decode()


@settings(max_examples=8, deadline=None)
@given(per_batch=st.integers(1, 4), test=st.integers(1, 5), shards=st.integers(1, 3), seed=st.integers(0, 999))
def test_official_and_parquet_layouts_agree(per_batch: int, test: int, shards: int, seed: int) -> None:
    original = small(5 * per_batch, test, seed)
    content = fingerprint(*original[:4])
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_binary(root / "1", original)
        write_python(root / "2" / "cifar-10-batches-py", original)
        write_parquet(root / "3" / "plain_text", original, shards)
        for place in ("1", "2", "3"):
            assert fingerprint(*decode(root / place)[:4]) == content


def test_tree_keeps_every_image_under_its_class(tmp_path: Path) -> None:
    original = small(seed=5)
    decoded = decode(write_tree(tmp_path, original))
    order = np.argsort(original.train_labels, kind="stable")  # class by class, file names ascending
    assert decoded.class_names == data.CIFAR10_CLASSES
    np.testing.assert_array_equal(decoded.train_labels, original.train_labels[order])
    np.testing.assert_array_equal(decoded.train_images, original.train_images[order])


def test_tree_reads_jpeg_and_upper_case(tmp_path: Path) -> None:
    write_tree(tmp_path, small(), "jpeg")
    for file in sorted((tmp_path / "test").rglob("*.jpeg")):
        file.rename(file.with_suffix(".JPG"))
    assert len(decode(tmp_path).test_labels) == 20


def test_what_macos_leaves_among_pictures_is_none(tmp_path: Path) -> None:
    original = small()
    write_tree(tmp_path, original)
    for file in [*tmp_path.rglob("*.png")]:
        file.with_name(f"._{file.name}").write_bytes(bytes.fromhex("00051607000200004d6163204f532058"))
        (file.parent / ".DS_Store").touch()
    (tmp_path / "train" / "__MACOSX").mkdir()
    assert fingerprint(*decode(tmp_path)[:4]) == fingerprint(*decode(write_tree(tmp_path / "clean", original))[:4])


@pytest.mark.parametrize("column", ["img", "image"])
@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-00000-of-00001.parquet", "plain_text/{}/0000.parquet"])
def test_parquet_files_by_their_other_names(tmp_path: Path, name: str, column: str) -> None:
    original = small()
    for part in ("train", "test"):
        table = pq.read_table(write_parquet(tmp_path / "usual", original) / f"{part}-00000-of-00001.parquet")
        file = tmp_path / "other" / name.format(part)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.rename_columns([column, "label"]), file)
    assert fingerprint(*decode(tmp_path / "other")[:4]) == fingerprint(*original[:4])


@pytest.mark.parametrize("place", ["cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py"])
def test_the_caches_of_keras_3_and_2_and_of_torchvision(tmp_path: Path, place: str) -> None:
    original = small()
    write_python(tmp_path / place, original)
    assert fingerprint(*decode(tmp_path)[:4]) == fingerprint(*original[:4])


def write_kaggle(folder: Path, original: Decoded) -> Path:
    for part, images, labels in (
        ("train", original.train_images, original.train_labels),
        ("test", original.test_images, original.test_labels),
    ):
        (folder / part).mkdir(parents=True)
        rows = ["id,label"]
        for number, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
            (folder / part / f"{number}.png").write_bytes(png(image))
            rows.append(f"{number},{original.class_names[label]}")
        (folder / f"{part}Labels.csv").write_text("\n".join(rows))
    return folder


def test_kaggles_layout(tmp_path: Path) -> None:
    original = small()
    folder = write_kaggle(tmp_path, original)
    assert fingerprint(*decode(folder)[:4]) == fingerprint(*original[:4])
    (folder / "testLabels.csv").unlink()
    with pytest.raises(BadInput, match="labels of its test pictures secret"):
        decode(folder)


@pytest.mark.parametrize("table", ["", "id\n1", "id,label\nx,cat", "id,label\n1,\x00", "id,label\n1,lion"])
def test_a_damaged_table_of_kaggle_is_named(tmp_path: Path, table: str) -> None:
    folder = write_kaggle(tmp_path, small())
    (folder / "trainLabels.csv").write_text(table or "number\n1")
    with pytest.raises(BadInput, match=r"trainLabels\.csv"):
        decode(folder)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_kaggle, "train/1.png"),
        (write_tree, "train/*/*.png"),
        (write_parquet, "**/train-*.parquet"),
        (write_binary, "data_batch_1.bin"),
        (write_python, "**/data_batch_1"),
    ],
)
@pytest.mark.parametrize("kind", ["a pipe", "a device that never ends"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, write, name: str, kind: str) -> None:
    write(tmp_path, small())
    file = next(tmp_path.glob(name))
    file.unlink()
    if kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=file.name):
        decode(tmp_path)
    if write in (write_kaggle, write_parquet):
        source = recognise(tmp_path)
        assert source is not None
        with pytest.raises(BadInput, match=file.name):
            source.key()


def test_gray_and_palette_pictures_become_rgb() -> None:
    gray = np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
    np.testing.assert_array_equal(decode_picture(png(gray), "x"), np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize(
    ("archive", "folder", "write"),
    [
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", write_binary),
        ("cifar-10-python.tar.gz", "cifar-10-batches-py", write_python),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_archives_are_read_packed(tmp_path, make_official, archive, folder, write, as_file) -> None:
    original = small()
    file = write_archive(tmp_path / "place" / archive, write(tmp_path / folder, original))
    make_official(file)
    decoded = decode(file if as_file else file.parent)
    assert fingerprint(*decoded[:4]) == fingerprint(*original[:4])


@pytest.mark.usefixtures("isolated", "small_counts")
def test_official_pixels_are_called_cifar10_in_every_layout(tmp_path, monkeypatch) -> None:
    original = small()
    write_binary(tmp_path / "binary", original)
    digests = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "binary").iterdir()}
    monkeypatch.setattr(known, "BATCH", 20)
    monkeypatch.setattr(known, "OFFICIAL_TEST_BATCH", digests.pop("test_batch"))
    monkeypatch.setattr(known, "OFFICIAL_TRAIN_BATCHES", frozenset(digests.values()))
    write_python(tmp_path / "python", original)
    # Hugging Face keeps the official batches in the order 4 3 2 5 1
    images = np.concatenate([np.split(original.train_images, 5)[i - 1] for i in (4, 3, 2, 5, 1)])
    labels = np.concatenate([np.split(original.train_labels, 5)[i - 1] for i in (4, 3, 2, 5, 1)])
    write_parquet(tmp_path / "parquet", original._replace(train_images=images, train_labels=labels))
    for place in ("binary", "python", "parquet"):
        monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / place))
        assert data.load().name == "cifar10"

    write_binary(tmp_path / "other", small(seed=1))
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "other"))
    other = data.load()
    assert other.name == f"cifar10-{other.fingerprint[:8]}"


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_wants_to_run_a_program_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps({b"data": Evil(marker)}, protocol=protocol)
    with pytest.raises(BadInput, match=r"data_batch_1 is refused.*(posix|nt)\.system"):
        read_batch(content, "data_batch_1")
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "builtins getattr", "subprocess Popen", "numpy load", "numpy.core.multiarray scalar"],
)
def test_everything_but_arrays_is_refused(name: str) -> None:
    module, attribute = name.split()
    with pytest.raises(BadInput, match=f"{module}.{attribute}"):
        read_batch(f"c{module}\n{attribute}\n.".encode(), "batch")


def test_arrays_written_by_python_3_are_read_too() -> None:
    images, labels = batches(small())["test_batch"]
    content = pickle.dumps({b"data": planar(images), b"labels": labels.tolist()}, protocol=2)
    got_images, got_labels = read_batch(content, "batch")
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)
    assert issubclass(RestrictedUnpickler, pickle.Unpickler)


@st.composite
def damaged(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """A file with some bytes changed, left out or put in, the head and the tail more often than the middle."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        place = draw(st.integers(0, size) | st.integers(0, min(size, 64)) | st.integers(max(0, size - 900), size))
        left_out = draw(st.integers(0, 4) | st.integers(0, size))
        content[place : place + left_out] = draw(st.binary(max_size=8))
    return bytes(content)


def _shard() -> bytes:
    data = small(20, 2)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "train.parquet"
        write_shard(file, [png(image) for image in data.train_images], data.train_labels.astype(int).tolist())
        return file.read_bytes()


@settings(max_examples=100, deadline=None)
@given(content=damaged([_shard()]))
def test_a_damaged_shard_is_bad_input_or_still_pictures(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "train.parquet"
        file.write_bytes(content)
        said = None
        try:
            images, labels = read_shard(file)
        except BadInput as error:
            said = str(error)
        assert str(file) in said if said is not None else images.shape == (len(labels), *IMAGE_SHAPE)


@settings(max_examples=150, deadline=None)
@given(content=damaged([png(image, suffix) for image in small(2, 1).train_images for suffix in ("png", "jpg")]))
def test_a_damaged_picture_is_bad_input_or_still_a_picture(content: bytes) -> None:
    said = None
    try:
        picture = decode_picture(content, "a picture")
    except BadInput as error:
        said = str(error)
    assert "a picture" in said if said is not None else picture.shape == IMAGE_SHAPE


def _pickle() -> bytes:
    images, labels = batches(small(10, 2))["test_batch"]
    return python2_pickle({b"data": planar(images), b"labels": labels.tolist()})


@settings(max_examples=100, deadline=None)
@given(content=damaged([_pickle()]))
def test_a_damaged_pickle_is_bad_input_or_still_a_batch(content: bytes) -> None:
    said = None
    try:
        images, labels = read_batch(content, "batch")
    except BadInput as error:
        said = str(error)
    assert "batch" in said if said is not None else images.shape == (len(labels), *IMAGE_SHAPE)
