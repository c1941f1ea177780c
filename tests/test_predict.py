"""Pictures that `harness predict` is given."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import finished, small_config
from PIL import Image

from harness.commands import predict
from harness.commands.predict import read_image
from harness.common.errors import BadInput
from harness.engine.backend import import_keras
from harness.runs.folder import RunFolder
from harness.tracking.mlflow_run import Tracker

import_keras("tensorflow")

import keras  # noqa: E402

GREY = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8) * 2


def test_a_picture_of_16_bits_is_that_of_8(tmp_path: Path) -> None:
    """Pillow makes it all white."""
    Image.fromarray(GREY).save(tmp_path / "8.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(GREY.astype(np.int32) * 257).save(tmp_path / "32.tif")
    for name in ("16.png", "32.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), read_image(tmp_path / "8.png"))


@pytest.mark.timeout(20)
def test_a_pipe_as_a_picture_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadInput, match=r"pipe\.png cannot be read as an image \(it is no regular file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("pixels", [GREY.astype(np.float32), GREY.astype(np.int32) * 2**20])
def test_a_picture_whose_white_is_not_known_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "deep.tif")
    with pytest.raises(BadInput, match=r"deep\.tif cannot be read as an image \(it"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize("name", ["50%25", "what?", "100% sure"])
def test_a_model_is_read_from_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """MLflow reads `%25` as `%` in a path that it has just made of a URL."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path / name))
    folder = RunFolder(small_config())
    folder.artifacts.mkdir(parents=True)
    result = finished()
    history = [{"epoch": 1, "timestamp": 1_700_000_000_000, "train_loss": 1.0}]
    with folder.locked():
        folder.finish(result, history)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with Tracker(folder, "name", {}, "source") as tracker:
        tracker.started(history)
        tracker.finish(result, history, model, images)
    *_, loaded = predict.load_model(None)
    np.testing.assert_array_equal(loaded(images), model(images))
    # MLflow makes an empty folder of the escaped name.
    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*") if file.is_file()} == {name}
