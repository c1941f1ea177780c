"""The seal of a run that has ended: the sha256 of each of its files, so that damage to any of them is noticed.

    mlruns/runs/<key>/seal.json         written after the files that it names, and before result.json

Runs of earlier versions have no seal, and are read without.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.common.documents import read_json
from harness.common.files import write_atomically

SEAL = "seal.json"


@dataclass(frozen=True)
class Seal:
    """Names relative to the run folder -> sha256."""

    files: dict[str, str]


def write_seal(folder: Path, files: Iterable[Path], contents: Mapping[str, bytes]) -> None:
    """Seal files of a folder. contents: those that may be written after the seal, or have to have this content."""
    sealed = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    sealed |= {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_atomically(folder / SEAL, json.dumps({"files": dict(sorted(sealed.items()))}, indent=1).encode())


def read_seal(folder: Path) -> Seal | None:
    """Return the seal of a folder, or None if it has none. Raises OSError or ValueError if it is damaged."""
    try:
        return read_json(folder / SEAL, Seal)
    except FileNotFoundError:
        return None


def sha256(file: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
