"""One file of the official binary version: records of a label byte and 3,072 pixel bytes, by channel."""

import numpy as np

from harness.common.errors import BadInput
from harness.data.dataset import Images, Labels
from harness.data.layouts.source import ANOTHER_COPY

RECORD_BYTES = 1 + 3 * 32 * 32


def read_batch(content: bytes, where: str) -> tuple[Images, Labels]:
    """Images uint8 [n, 32, 32, 3] and labels uint8 [n]. Raises BadInput on a partial record."""
    records, rest = divmod(len(content), RECORD_BYTES)
    if rest:
        raise BadInput(
            f"{where} is truncated or damaged: {len(content):,} bytes, which is {records:,} images of "
            f"{RECORD_BYTES:,} bytes and {rest:,} bytes of another. {ANOTHER_COPY}"
        )
    table = np.frombuffer(content, np.uint8).reshape(records, RECORD_BYTES)
    images = table[:, 1:].reshape(records, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), table[:, 0]
