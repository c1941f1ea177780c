"""One picture file, PNG or JPEG, into pixels."""

import io

import numpy as np

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.data.dataset import IMAGE_SHAPE, Images

Image = lazy_import("PIL.Image")

# Modes that become RGB without loss. Transparency, CMYK and 16-bit pictures would need a choice that changes the
# pixels, and no copy of CIFAR-10 has them: refused rather than guessed.
LOSSLESS_MODES = ("RGB", "L", "P")
FIX = "Replace it by a good copy, or point $CIFAR10_DIR at another data set."


def decode_picture(content: bytes, where: str) -> Images:
    """uint8 [32, 32, 3], RGB. Raises BadInput, naming `where`, on a damaged picture, another size or mode."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            size, mode = picture.size, picture.mode
            if (size[1], size[0], 3) == IMAGE_SHAPE and mode in LOSSLESS_MODES:  # before any pixel is decoded
                return np.asarray(picture if mode == "RGB" else picture.convert("RGB"))
    except Exception as error:  # a damaged file can fail anywhere in Pillow's parsers
        reason = "not a PNG or JPEG" if "cannot identify" in str(error) else error
        raise BadInput(f"{where}: the picture is corrupt ({reason}). {FIX}") from error
    if mode not in LOSSLESS_MODES:
        raise BadInput(f"{where}: the picture has mode {mode}; only RGB, gray and palette are read. {FIX}")
    raise BadInput(f"{where}: the picture is {size[0]}x{size[1]} pixels, CIFAR-10 is 32x32. {FIX}")
