"""Reader for a file of the official python version: a Python 2 pickle of a dictionary, read without trusting it.

A pickle is a program. This reader lets it build only numbers, strings, lists, dictionaries and numpy arrays. If it asks
for anything else, it is refused with the name of that, before anything is called.
"""

import io
import pickle
from typing import Any

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import Images, Labels
from harness.data.layouts.source import ANOTHER_COPY


def _latin1(text: str, encoding: str) -> bytes:
    """Replace `_codecs.encode`, allowing only its use in old pickles for bytes that Python 3 has written."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]  # numpy's function that rebuilds arrays; its module depends on the version
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,  # its name in the official files
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,  # its name in files of numpy 2
    ("_codecs", "encode"): _latin1,
}


class Refused(Exception):
    """The pickle asks for a function or class that no CIFAR-10 batch needs."""


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that can build arrays and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def read_batch(content: bytes, where: str) -> tuple[Images, Labels]:
    """Return images uint8 [n, 32, 32, 3] and labels of an integer type [n]. where: name for messages.

    Raises BadInput if the pickle asks for more than arrays, is damaged, or is no CIFAR-10 batch.
    """
    try:
        batch = RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.array(batch[b"labels"])
    except Refused as refused:
        raise BadInput(
            f"{where} is refused: this pickle wants to use {refused}, which no CIFAR-10 file needs and which could "
            f"run any program. Use a copy from a source you trust, best the official binary version."
        ) from refused
    except Exception as error:  # a damaged pickle can fail in any way
        raise BadInput(
            f"{where} is no CIFAR-10 batch, or truncated or damaged ({type(error).__name__}: {error}). {ANOTHER_COPY}"
        ) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32:
        raise BadInput(
            f"{where} has images of the wrong shape: data is {pixels.dtype} {list(pixels.shape)}, CIFAR-10 has "
            f"uint8 [n, 3072]. {ANOTHER_COPY}"
        )
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        raise BadInput(f"{where} has {len(pixels):,} images but not as many whole-number labels. {ANOTHER_COPY}")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels
