"""Pictures that `harness predict` is given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.commands.predict import read_image
from harness.common.errors import BadInput

GREY = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8) * 2


def test_a_picture_of_16_bits_is_that_of_8(tmp_path: Path) -> None:
    """Pillow makes it all white."""
    Image.fromarray(GREY).save(tmp_path / "8.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(GREY.astype(np.int32) * 257).save(tmp_path / "32.tif")
    for name in ("16.png", "32.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), read_image(tmp_path / "8.png"))


@pytest.mark.parametrize("pixels", [GREY.astype(np.float32), GREY.astype(np.int32) * 2**20])
def test_a_picture_whose_white_is_not_known_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "deep.tif")
    with pytest.raises(BadInput, match=r"deep\.tif cannot be read as an image \(it"):
        read_image(tmp_path / "deep.tif")
