"""Every way in which data can be unusable: one message that names the place and the way out, and an unchanged cache."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_builders import (
    batches,
    listing,
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

from harness import data
from harness.commands.execution import find_data
from harness.common import paths
from harness.common.errors import BadInput
from harness.data.dataset import Decoded
from harness.data.loader import validate

pytest_plugins = "data_fixtures"
pytestmark = pytest.mark.usefixtures("isolated", "small_counts")


def refusal(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The message for the data at `place`, after a look at its form and at the cache."""
    write_binary(paths.PROJECT / "good", small(seed=9))
    monkeypatch.setenv("CIFAR10_DIR", str(paths.PROJECT / "good"))
    data.load()
    before = listing(paths.cache())
    assert len(before) == 1

    monkeypatch.setenv("CIFAR10_DIR", str(place))
    with pytest.raises(BadInput) as caught:
        find_data(None, may_fall_back=True)
    message = str(caught.value)
    assert "\n" not in message
    assert "CIFAR10_DIR" in message or "a source you trust" in message
    assert caught.value.exit_code == 2
    assert listing(paths.cache()) == before
    return message


def test_a_missing_place(tmp_path, monkeypatch) -> None:
    assert f"{tmp_path / 'gone'}, which does not exist" in refusal(tmp_path / "gone", monkeypatch)


def test_an_empty_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    assert "no CIFAR-10 is recognised" in refusal(tmp_path / "empty", monkeypatch)


def test_a_file_of_another_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "no CIFAR-10 is recognised" in refusal(tmp_path / "photos.zip", monkeypatch)


def test_a_missing_batch_file(tmp_path, monkeypatch) -> None:
    write_binary(tmp_path / "x", small())
    (tmp_path / "x" / "data_batch_3.bin").unlink()
    assert "lacks data_batch_3.bin" in refusal(tmp_path / "x", monkeypatch)


def test_a_truncated_batch_file(tmp_path, monkeypatch) -> None:
    file = write_binary(tmp_path / "x", small()) / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-10])
    assert f"{file} is truncated" in refusal(tmp_path / "x", monkeypatch)


def test_one_test_image_too_few(tmp_path, monkeypatch) -> None:
    file = write_binary(tmp_path / "x", small()) / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-3073])
    assert "the test set has 19 images, CIFAR-10 has 20" in refusal(tmp_path / "x", monkeypatch)


def test_a_label_outside_0_to_9(tmp_path, monkeypatch) -> None:
    original = small()
    original.train_labels[7] = 10
    write_binary(tmp_path / "x", original)
    assert "training image 7 has the label 10" in refusal(tmp_path / "x", monkeypatch)


def test_a_class_without_images(tmp_path, monkeypatch) -> None:
    original = small()
    original.test_labels[original.test_labels == 3] = 4
    write_binary(tmp_path / "x", original)
    assert "the test set has no image of the class cat" in refusal(tmp_path / "x", monkeypatch)


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_truncated_archive(tmp_path, monkeypatch, make_official, keep: float) -> None:
    folder = write_binary(tmp_path / "cifar-10-batches-bin", small())
    file = write_archive(tmp_path / "x" / "cifar-10-binary.tar.gz", folder)
    make_official(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert f"{file} is truncated" in refusal(file, monkeypatch)


def test_an_archive_with_the_wrong_checksum(tmp_path, monkeypatch, make_official) -> None:
    folder = write_binary(tmp_path / "cifar-10-batches-bin", small())
    file = write_archive(tmp_path / "x" / "cifar-10-binary.tar.gz", folder)
    make_official(file)
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    assert f"{file} has the wrong checksum" in refusal(tmp_path / "x", monkeypatch)


def test_an_archive_without_a_batch(tmp_path, monkeypatch, make_official) -> None:
    folder = write_python(tmp_path / "cifar-10-batches-py", small())
    (folder / "test_batch").unlink()
    file = write_archive(tmp_path / "x" / "cifar-10-python.tar.gz", folder)
    make_official(file)
    assert "lacks test_batch" in refusal(file, monkeypatch)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({b"data": np.zeros((20, 3000), np.uint8)}, r"wrong shape: data is uint8 \[20, 3000\]"),
        ({b"data": np.zeros((20, 3072), np.float32)}, "wrong shape: data is float32"),
        ({b"labels": [1] * 19}, "not as many whole-number labels"),
        ({b"labels": [0.5] * 20}, "not as many whole-number labels"),
        ({b"labels": [2**70] * 20}, "not as many whole-number labels"),
    ],
)
def test_a_pickled_batch_of_another_form(tmp_path, monkeypatch, change, complaint) -> None:
    folder = write_python(tmp_path / "x", small())
    images, labels = batches(small())["test_batch"]
    content = {b"data": planar(images), b"labels": labels.tolist()} | change
    (folder / "test_batch").write_bytes(python2_pickle(content))
    assert re.search(complaint, refusal(folder, monkeypatch))


@pytest.mark.parametrize("content", [b"", b"not a pickle", python2_pickle([1, 2]), python2_pickle({b"data": 1})])
def test_a_pickled_batch_that_is_none(tmp_path, monkeypatch, content: bytes) -> None:
    folder = write_python(tmp_path / "x", small())
    (folder / "data_batch_5").write_bytes(content)
    assert "data_batch_5" in refusal(folder, monkeypatch)


def test_a_truncated_parquet_file(tmp_path, monkeypatch) -> None:
    folder = write_parquet(tmp_path / "x", small())
    file = folder / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} is truncated or damaged" in refusal(folder, monkeypatch)


def test_parquet_without_its_test_part(tmp_path, monkeypatch) -> None:
    folder = write_parquet(tmp_path / "x" / "plain_text", small())
    (folder / "test-00000-of-00001.parquet").unlink()
    assert f"{folder} has no test-*.parquet" in refusal(tmp_path / "x", monkeypatch)


def test_a_corrupt_picture_in_parquet_is_named_by_its_row(tmp_path, monkeypatch) -> None:
    original = small()
    folder = write_parquet(tmp_path / "x", original)
    pictures: list[bytes | None] = [png(image, "jpg") for image in original.test_images]
    labels = original.test_labels.tolist()
    file = folder / "test-00000-of-00001.parquet"
    for broken in (pictures[13][:200], b"GIF89a", None):
        pictures[13] = broken
        write_shard(file, pictures, labels)
        assert f"{file}, row 13: the picture is corrupt" in refusal(folder, monkeypatch)


def test_parquet_with_other_columns_or_labels(tmp_path, monkeypatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_parquet(tmp_path / "x", small())
    file = folder / "test-00000-of-00001.parquet"
    good = pq.read_table(file)
    nameless = [[None] * 20]
    for table, complaint in (
        (good.rename_columns(["picture", "label"]), "has the columns picture, label"),
        (good.set_column(1, "label", pa.array(["cat"] * 20)), "no whole numbers"),
        (good.set_column(1, "label", pa.chunked_array(nameless, pa.int64())), "no whole numbers"),
        (good.set_column(0, "img", pa.array([b""] * 20)), "no picture bytes"),
    ):
        pq.write_table(table, file)
        assert complaint in refusal(folder, monkeypatch)


def test_a_corrupt_picture_in_a_tree_is_named(tmp_path, monkeypatch) -> None:
    for suffix in ("png", "jpg"):
        folder = write_tree(tmp_path / suffix, small(), suffix)
        file = sorted((folder / "test" / "cat").iterdir())[0]
        file.write_bytes(file.read_bytes()[:300])
        assert f"{file}: the picture is corrupt" in refusal(folder, monkeypatch)


def test_a_picture_of_another_size_or_mode_is_named(tmp_path, monkeypatch) -> None:
    folder = write_tree(tmp_path / "x", small())
    file = sorted((folder / "train" / "dog").iterdir())[0]
    file.write_bytes(png(np.zeros((28, 30, 3), np.uint8)))
    assert f"{file}: the picture is 30x28 pixels" in refusal(folder, monkeypatch)
    file.write_bytes(png(np.zeros((32, 32, 4), np.uint8)))
    assert f"{file}: the picture has mode RGBA" in refusal(folder, monkeypatch)


def test_a_missing_class_folder_is_named(tmp_path, monkeypatch) -> None:
    folder = write_tree(tmp_path / "x", small())
    shutil.rmtree(folder / "test" / "frog")
    message = refusal(folder, monkeypatch)
    assert "10 class folders in train/ and 9 in test/" in message
    assert "frog" in message


def test_a_tree_with_one_picture_too_few(tmp_path, monkeypatch) -> None:
    folder = write_tree(tmp_path / "x", small())
    sorted((folder / "train" / "dog").iterdir())[0].unlink()
    assert "the training set has 99 images" in refusal(folder, monkeypatch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("which", ["", "data_batch_1.bin"])
def test_no_right_to_read(tmp_path, monkeypatch, which: str) -> None:
    target = write_binary(tmp_path / "x", small()) / which
    target.chmod(0)
    try:
        assert "permission denied" in refusal(tmp_path / "x", monkeypatch)
    finally:
        target.chmod(0o700)


@pytest.mark.parametrize("call", ["listdir", "scandir"])
def test_no_right_to_read_as_the_system_says_it(tmp_path, monkeypatch, call: str) -> None:
    folder = write_tree(tmp_path / "x", small())
    real = getattr(os, call)

    def denied(path="."):
        if str(path).startswith(str(folder)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, call, denied)
    assert f"{folder}" in (message := refusal(folder, monkeypatch))
    assert "permission denied" in message


def test_a_folder_that_links_to_itself(tmp_path, monkeypatch) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "loop" in refusal(tmp_path / "loop", monkeypatch)


@pytest.mark.usefixtures("isolated")
def test_broken_data_is_no_reason_to_look_elsewhere(tmp_path) -> None:
    write_binary(Path("data"), small())
    write_binary(paths.PROJECT.parent / "shared" / "data" / "cifar10", small())
    Path("data/test_batch.bin").unlink()
    with pytest.raises(BadInput, match=r"data lacks test_batch\.bin"):
        data.load()


@pytest.mark.parametrize(("train", "test"), [(49_999, 10_000), (50_000, 9_999), (50_001, 10_000), (50_000, 0)])
def test_the_counts_of_cifar10(monkeypatch, train: int, test: int) -> None:
    monkeypatch.undo()  # the real counts

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.broadcast_to(np.uint8(0), (count, 32, 32, 3)), np.arange(count) % 10

    validate(Decoded(*part(50_000), *part(10_000)), Path("here"))
    with pytest.raises(BadInput, match=f"here: the .* set has ({train:,}|{test:,}) images, CIFAR-10 has"):
        validate(Decoded(*part(train), *part(test)), Path("here"))


def test_the_shape_of_cifar10() -> None:
    decoded = small()
    gray = decoded._replace(test_images=decoded.test_images[..., :1])
    with pytest.raises(BadInput, match="the test images have the wrong shape"):
        validate(gray, Path("here"))
