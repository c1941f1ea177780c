"""The checkpoint of a run: state and history after the last finished epoch, in one file."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.common.documents import parse
from harness.common.errors import first_line
from harness.common.files import atomic
from harness.runs.records import History, parse_history

#: Bytes of all arrays of a checkpoint. Those of this network and of an optimizer are less than 10 MB.
LARGEST_CHECKPOINT = 256 * 1024**2


def write_checkpoint(file: Path, state: Mapping[str, Any], history: History, run_key: str) -> None:
    """Write a checkpoint atomically: after a kill it is the old or the new one. Raises HarnessError."""
    with atomic(file) as stream:
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
        names = np.array(json.dumps(sorted(arrays)))
        rows = np.array(json.dumps(history))
        np.savez(stream, history=rows, names=names, run_key=np.array(run_key), **arrays)


def read_checkpoint(file: Path, run_key: str) -> tuple[dict[str, np.ndarray], History]:
    """Return state and history of a run's checkpoint. Raises OSError, or ValueError if it is damaged or another run's.

    Checkpoints of earlier versions do not say whose they are.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_CHECKPOINT:
                raise ValueError("its arrays are too large")
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        names: list[str] = parse(str(arrays.pop("names")), list[str])
        history = parse_history(str(arrays.pop("history")))
        owner = str(arrays.pop("run_key", run_key))
    # A damaged header can lead to any of these errors, e.g. by saying that the file is encrypted or a single array.
    except (KeyError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(first_line(error)) from error
    if sorted(arrays) != names:
        # A damaged table of contents can hide some arrays of a zip file.
        raise ValueError("it lacks arrays of the state")
    if owner != run_key:
        raise ValueError(f"it is of the run {owner[:16]!r}")
    return arrays, history
