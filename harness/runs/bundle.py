"""A bundle: the record of a run trained without MLflow, for `harness sync` to import later.

    DIR/runs/<key>/config.json, checkpoint.npz, result.json, artifacts/history.json
                                       as in any run folder (harness/runs)
                  /spec.json          the run spec: its config and names
                  /environment.json   tags: versions, hardware, commit; when the run began
                  /metrics.jsonl      one line per finished epoch, with its time
                  /bundle.json        the seal, written last: the sha256 of each file, and when the run ended

After a kill at any moment, the same command continues the bundle. A bundle without its seal is not imported. An
imported run folder keeps the seal: such a run is logged to MLflow from its files, and nothing is computed again.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.common.errors import BadInput
from harness.common.files import UNFINISHED, write_atomically
from harness.config import from_json
from harness.runs.folder import ENVIRONMENT, History, Result, RunFolder
from harness.runs.spec import RunSpec, run_spec_from_json

FORMAT = 1

#: Large, and needed only for the model: a bundle may be copied without it.
CHECKPOINT = "checkpoint.npz"

#: The files that every bundle has, besides its artifacts and its checkpoint.
ALWAYS = ("config.json", "spec.json", ENVIRONMENT, "metrics.jsonl", "result.json", "artifacts/history.json")


class Bundle:
    """Callback that writes the record of a run to files, as `harness.tracking.Tracker` logs it to MLflow."""

    def __init__(self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], source: str) -> None:
        self.folder, self.spec, self.tags, self.source = folder, spec, tags, source
        self._metrics = folder.path / "metrics.jsonl"

    def __enter__(self) -> "Bundle":
        write_atomically(self.folder.path / "spec.json", self.spec.to_json().encode())
        if not (self.folder.path / ENVIRONMENT).exists():
            self.folder.begin(self.tags, self.source)
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: no file is open between two calls."""

    def started(self, history: History) -> None:
        """Rewrite metrics.jsonl from the checkpoint's history: a kill may have left half a line, or one too few."""
        write_atomically(self._metrics, "".join(f"{json.dumps(row)}\n" for row in history).encode())

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Do nothing: a bundle has one line per epoch."""

    def epoch(self, row: dict[str, float]) -> None:
        """Append a line."""
        # It is not synced to the disk: whatever is lost, `started` writes anew from the checkpoint.
        with open(self._metrics, "a") as file:
            file.write(f"{json.dumps(row)}\n")

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Do nothing: a bundle does not record the time that recording takes."""
        yield

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Write the seal. The model is not saved: its weights are in the checkpoint."""
        path = self.folder.path
        with open(self._metrics, "rb+") as file:
            os.fsync(file.fileno())  # the seal must not be on the disk before what it seals
        # No other files: a kill may have left an unfinished file, or the operating system a file of its own.
        artifacts = (file for file in self.folder.artifacts.rglob("*") if file.is_file() and file.suffix != UNFINISHED)
        files = {path / name for name in (*ALWAYS, CHECKPOINT) if (path / name).exists()} | set(artifacts)
        seal = {
            "format": FORMAT,
            "ended": int(time.time() * 1000),
            "files": {file.relative_to(path).as_posix(): _sha256(file) for file in sorted(files)},
        }
        write_atomically(path / "bundle.json", json.dumps(seal, indent=1).encode())


@dataclass(frozen=True)
class Sealed:
    """A complete bundle. begun, ended: ms since 1970. files: names relative to `path`."""

    path: Path
    spec: RunSpec
    result: Result
    history: History
    tags: dict[str, str]
    source: str
    begun: int
    ended: int
    files: list[str]


def is_sealed(folder: RunFolder) -> bool:
    """Whether the run folder is a complete bundle, made here or imported."""
    return (folder.path / "bundle.json").exists()


def read_bundle(path: Path) -> Sealed:
    """Read and check the bundle in a folder. Raises BadInput that names what is missing or damaged."""
    try:
        seal = json.loads((path / "bundle.json").read_text())
        if seal["format"] != FORMAT:
            raise BadInput(f"{path} is a bundle of format {seal['format']}; this version reads format {FORMAT}.")
        missing = [name for name in ALWAYS if name not in seal["files"]]
        foreign = [name for name in seal["files"] if not _belongs(name)]
        if missing or foreign:
            raise ValueError(f"its seal lacks {', '.join(missing)}" if missing else f"its seal names {foreign[0]}")
        for name, digest in seal["files"].items():
            file = path / name
            if name == CHECKPOINT and not file.exists():
                continue
            if _sha256(file) != digest:
                raise BadInput(f"{file} is not what it was when the bundle was sealed: copy the bundle again.")
        environment = json.loads((path / ENVIRONMENT).read_text())
        spec = run_spec_from_json((path / "spec.json").read_text())
        config = from_json((path / "config.json").read_text())
        if config != spec.config or config.key != path.name:
            raise BadInput(f"{path} holds the run {config.key} under another name: copy the bundle again.")
        return Sealed(
            path=path,
            spec=spec,
            result=Result(**json.loads((path / "result.json").read_text())),
            history=json.loads((path / "artifacts" / "history.json").read_text()),
            tags=environment["tags"],
            source=environment["source"],
            begun=environment["begun"],
            ended=seal["ended"],
            files=[name for name in seal["files"] if (path / name).exists()],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no whole bundle ({error}): copy it again from where it was made.") from error


def _belongs(name: str) -> bool:
    """Whether a bundle may have a file of that name. This module writes no seal with other names."""
    parts = PurePosixPath(name).parts
    return name in (*ALWAYS, CHECKPOINT) or (parts[:1] == ("artifacts",) and ".." not in parts)


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
