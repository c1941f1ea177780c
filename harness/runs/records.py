"""What is recorded of a run: its history, its result, and the environment that it was trained in."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from harness.common.documents import parse

#: One row per finished epoch: "epoch" (from 1), "timestamp" (ms since 1970), and the metrics of the epoch.
History = list[dict[str, float]]

#: The tags of a run's environment that may change the last bits of its numbers.
DECISIVE = (
    "cpu",
    "device",
    "threads",
    "switches",
    "version_jax",
    "version_keras",
    "version_numpy",
    "version_tensorflow",
)


def decisive(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that may change the last bits of a run's numbers.

    Runs with the same config and the same values of these tags are equal bit for bit.
    """
    return {name: tags[name] for name in DECISIVE if name in tags}


def decisive_differences(ones: Mapping[str, str], others: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the tags of `decisive` that differ, with both values; `none` where one side lacks it."""
    pairs = {name: (ones.get(name, "none"), others.get(name, "none")) for name in DECISIVE}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def version_texts(tags: Mapping[str, str]) -> list[str]:
    """Return what versions the tags name: `jax 0.9.1` of `version_jax`."""
    return [f"{name.removeprefix('version_')} {tags[name]}" for name in sorted(tags) if name.startswith("version_")]


@dataclass(frozen=True)
class Result:
    """The result of a run. A `diverged` run has a reason and no final metrics.

    `correct` says of each evaluation image whether it was classified right: one bit an image, in their order, packed
    into bytes and written in base64 (`packed`). Intervals over seeds and images need no more, and it is 1.7 KB.
    `measured_by` is the hash of the code that measured it (harness/source_hash), because the same metric of different
    code may mean different things. It is empty for runs from before this hash existed.
    """

    status: Literal["finished", "diverged"]
    reason: str
    metrics: dict[str, float]
    weights_sha256: str
    error_per_class: dict[str, float]
    confusion: list[list[int]]
    measured_by: str = ""
    correct: str = ""


def packed(bits: np.ndarray) -> str:
    """Return booleans [N] as text: eight to a byte, in base64."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpacked(text: str, count: int) -> np.ndarray:
    """Return the `count` booleans that `packed` wrote."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


@dataclass(frozen=True)
class Environment:
    """Where a run is trained. begun: ms since 1970. source: where its images are. tags: versions, hardware, commit.

    earlier: the tags of environments in which it was trained before, if any of them were `decisive`.
    """

    begun: int
    source: str
    tags: dict[str, str]
    earlier: list[dict[str, str]] = field(default_factory=list)


def parse_history(content: bytes | str) -> History:
    """Return the history that some JSON holds: the epochs from 1 on. Raises ValueError."""
    history: History = parse(content, list[dict[str, int | float]])
    if [row.get("epoch") for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("its epochs are not 1, 2, 3, ...")
    if not all(isinstance(row.get("timestamp"), int) for row in history):
        raise ValueError("an epoch has no timestamp")
    return history
