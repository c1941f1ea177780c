"""Decoded once, checked at every start, never in the way."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from data_builders import listing, small, write_binary, write_tree

from harness import data
from harness.common import paths
from harness.common.errors import BadInput
from harness.data import cache
from harness.data import loader as loading

pytest_plugins = "data_fixtures"
pytestmark = pytest.mark.usefixtures("isolated", "small_counts")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "binary"))
    return write_binary(tmp_path / "binary", small())


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """One entry for every time that a data set is decoded."""
    seen: list[str] = []
    real = loading._decode

    def counted(source):
        seen.append(source.layout)
        return real(source)

    monkeypatch.setattr(loading, "_decode", counted)
    return seen


def same(one: data.Dataset, other: data.Dataset) -> bool:
    texts = ("name", "fingerprint", "source", "layout", "class_names")
    return all(getattr(one, field) == getattr(other, field) for field in texts) and all(
        np.array_equal(getattr(one, field), getattr(other, field))
        and getattr(one, field).dtype == getattr(other, field).dtype
        for field in cache.ARRAYS
    )


def entry() -> Path:
    (only,) = (paths.cache() / "decoded").iterdir()
    return only


def test_the_second_load_does_not_decode(folder, decodings) -> None:
    first, second = data.load(), data.load()
    assert decodings == ["official binary"]
    assert same(first, second)
    assert first.train_labels.dtype == np.int32
    assert first.source == str(folder)


def test_what_is_written_to_an_array_stays_in_this_process(folder) -> None:
    data.load()
    before = entry().read_bytes()
    data.load().train_images[:] = 0
    assert entry().read_bytes() == before


def test_moved_data_is_found_under_its_new_place(folder, decodings, monkeypatch) -> None:
    data.load()
    moved = folder.rename(folder.with_name("moved"))
    monkeypatch.setenv("CIFAR10_DIR", str(moved))
    assert data.load().source == str(moved)
    assert len(decodings) == 1


def test_changed_data_is_decoded_again(folder, decodings) -> None:
    first = data.load()
    write_binary(folder, small(seed=1))
    assert data.load().fingerprint != first.fingerprint
    assert len(decodings) == 2


def test_a_changed_tree_is_decoded_again(tmp_path, decodings, monkeypatch) -> None:
    tree = write_tree(tmp_path / "tree", small())
    monkeypatch.setenv("CIFAR10_DIR", str(tree))
    data.load()
    data.load()
    assert len(decodings) == 1
    one, other = sorted((tree / "train" / "cat").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    data.load()
    assert len(decodings) == 2


def damage_truncate(content: bytes) -> bytes:
    return content[:-1000]


def damage_empty(content: bytes) -> bytes:
    return b""


def damage_longer(content: bytes) -> bytes:
    return content + b"\0"


def damage_pixel(content: bytes) -> bytes:
    return content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:]


def damage_header(content: bytes) -> bytes:
    return b"[1]" + content[3:]


def damage_other_json(content: bytes) -> bytes:
    return b"{}".ljust(cache.HEADER_BYTES) + content[cache.HEADER_BYTES :]


def damage_name(content: bytes) -> bytes:
    return content.replace(b"cat", b"bat", 1)


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_empty, damage_longer, damage_pixel, damage_header, damage_other_json, damage_name],
)
def test_a_damaged_entry_is_rebuilt_silently(folder, decodings, damage, caplog) -> None:
    first = data.load()
    whole = entry().read_bytes()
    entry().write_bytes(damage(whole))
    assert same(data.load(), first)
    assert len(decodings) == 2
    assert entry().read_bytes() == whole
    assert not caplog.records


def test_a_failing_decode_leaves_the_cache_as_it_was(folder) -> None:
    data.load()
    before = listing(paths.cache())
    (folder / "test_batch.bin").write_bytes(b"x")
    with pytest.raises(BadInput):
        data.load()
    assert listing(paths.cache()) == before


def test_a_write_that_fails_leaves_nothing_and_the_data_is_used(folder, monkeypatch, caplog) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.common.files.os.fsync", full_disk)
    with caplog.at_level(logging.WARNING, "harness"):
        dataset = data.load()
    assert len(dataset.train_images) == 100
    assert "No space left on device" in caplog.text
    assert "HARNESS_CACHE" in caplog.text
    assert listing(paths.cache()) == {}


def test_a_cache_that_cannot_be_written_costs_a_warning(folder, decodings, monkeypatch, tmp_path, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, "harness"):
        data.load()
    assert len(caplog.records) == 1
    assert len(decodings) == 1


def test_left_overs_of_a_killed_writer_are_swept(folder) -> None:
    data.load()
    left_over = entry().with_name(f"{entry().name}.abc.new")
    entry().rename(left_over)
    data.load()
    assert not left_over.exists()


def test_many_at_once_decode_once(folder, decodings) -> None:
    results: list[data.Dataset] = []
    threads = [threading.Thread(target=lambda: results.append(data.load())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(same(result, results[0]) for result in results)
    assert len(decodings) == 1
    assert entry().suffix == f".v{cache.FORMAT}"
