"""Which data is taken, what it is called, and the real copy of this machine."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_builders import small, write_binary, write_parquet

from harness import data
from harness.commands.execution import find_data
from harness.common import paths
from harness.common.errors import BadInput
from harness.data import download
from harness.reporting.run_figures import sample_figure

pytest_plugins = "data_fixtures"

REAL = paths.PROJECT.parent / "shared" / "data" / "cifar10"
HEAVY = ("PIL", "matplotlib", "pyarrow", "requests", "rich", "sklearn", "tensorflow")


def test_importing_is_cheap() -> None:
    code = f"import harness.data, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("isolated", "small_counts")
def test_the_places_in_their_order(monkeypatch, tmp_path) -> None:
    chosen = tmp_path / "chosen"
    in_order = [
        chosen,
        Path("data").absolute(),
        Path("data/cifar10").absolute(),
        paths.PROJECT.parent / "shared" / "data" / "cifar10",
        download.folder(),
    ]
    for seed, place in reversed(list(enumerate(in_order))):
        write_binary(place, small(seed=seed))
        if place == chosen:
            monkeypatch.setenv("CIFAR10_DIR", str(chosen))
        assert data.load().source == str(place)
        assert data.load("cifar10").source == str(place)


@pytest.mark.usefixtures("isolated", "small_counts")
def test_an_empty_variable_is_no_choice(monkeypatch) -> None:
    write_parquet(Path("data/plain_text"), small())
    monkeypatch.setenv("CIFAR10_DIR", "")
    assert data.load().source == str(Path("data/plain_text").absolute())


@pytest.mark.usefixtures("isolated")
def test_digits_are_taken_only_where_they_are_allowed(capsys) -> None:
    assert find_data(None, may_fall_back=True).name == "digits"
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "goes on with" in said
    assert data.load("digits").name == "digits"
    for which, may_fall_back in ((None, False), ("cifar10", False), ("cifar10", True)):
        with pytest.raises(data.NotFound, match=r"CIFAR-10 was not found.*cannot be reached.*Ways to get CIFAR-10"):
            find_data(which, may_fall_back=may_fall_back)


def test_another_name_is_bad_input() -> None:
    with pytest.raises(BadInput, match='no data set "mnist": choose "cifar10" or "digits"'):
        data.load("mnist")


def test_digits() -> None:
    dataset = data.digits()
    assert dataset.fingerprint == "9b1004f48f7bf05adb9eedab5ef7f4589b0246c9f9fad3fa3ce04ea589a5c9f3"
    assert dataset.class_names == tuple("0123456789")
    assert dataset.train_images.shape == (1437, 32, 32, 3)
    assert dataset.test_images.shape == (360, 32, 32, 3)
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        assert (images.min(), images.max()) == (0, 255)
        blocks = images.reshape(len(images), 8, 4, 8, 4, 3)
        assert (blocks == blocks[:, :, :1, :, :1, :1]).all()
        share = np.bincount(labels) / len(labels)
        assert share.min() > 0.095
        assert share.max() < 0.105


def test_the_figure_shows_the_first_ten_of_each_class() -> None:
    dataset = data.digits()
    axes = sample_figure(dataset).axes[0]
    sheet = np.asarray(axes.images[0].get_array())
    assert axes.get_title() == f"digits ({dataset.fingerprint[:8]})"
    assert [label.get_text() for label in axes.get_yticklabels()] == list("0123456789")
    for label, column in ((0, 0), (3, 9), (9, 5)):
        expected = dataset.train_images[dataset.train_labels == label][column]
        top, left = 34 * label, 34 * column
        np.testing.assert_array_equal(sheet[top : top + 32, left : left + 32], expected)


def test_how_to_get_cifar10_is_one_paragraph() -> None:
    text = data.how_to_get_cifar10()
    assert "\n" not in text
    for way in ("CIFAR10_URL", "./data", "CIFAR10_DIR", "cifar-10-binary.tar.gz", "plain_text"):
        assert way in text


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> data.Dataset:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not on this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CIFAR10_DIR", str(REAL))
        data.load()  # decodes
        return data.load()  # from the cache


def test_the_shared_copy_is_known_by_its_content(real) -> None:
    assert real.name == "cifar10-jpeg75"
    assert real.layout == "Hugging Face parquet"
    assert real.class_names == data.CIFAR10_CLASSES


def test_the_shared_copy_is_complete(real) -> None:
    assert real.train_images.shape == (50_000, 32, 32, 3)
    assert real.test_images.shape == (10_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(real.train_labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(real.test_labels), [1000] * 10)
    assert real.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # the official order
    # the well-known channel means of CIFAR-10, 125.3 123.0 113.9, which JPEG hardly moves
    np.testing.assert_allclose(real.train_images.mean(axis=(0, 1, 2)), [125.3, 123.0, 113.9], atol=0.5)


def test_the_shared_copy_splits(real) -> None:
    tune = data.split(real, "tune")
    np.testing.assert_array_equal(np.bincount(tune.train_labels), [4500] * 10)
    np.testing.assert_array_equal(np.bincount(tune.eval_labels), [500] * 10)
    part = data.subset(tune, 256, 100)
    assert (len(part.train_images), len(part.eval_images)) == (256, 100)
