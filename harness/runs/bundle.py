"""A run's record where there is no MLflow: a bundle, which `harness sync` imports later.

    DIR/runs/<key>/config.json, checkpoint.npz, result.json, artifacts/    as in any run folder (harness/runs)
                  /spec.json          the names that the run goes by
                  /environment.json   tags: versions, hardware, commit; when it began
                  /metrics.jsonl      one line per finished epoch, with its time
                  /bundle.json        the seal, written last: the sha256 of each file, and when the run ended

A kill at any moment leaves a bundle that the same command goes on with; one without its seal is not imported. Imported,
the folder keeps its seal: what MLflow has to be told of such a run is what stands in it, and nothing is computed anew.
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

#: Large, and needed by those alone who want the model: a bundle may travel without it.
CHECKPOINT = "checkpoint.npz"

#: What every bundle has; its artifacts and its checkpoint come with them.
ALWAYS = ("config.json", "spec.json", ENVIRONMENT, "metrics.jsonl", "result.json", "artifacts/history.json")


class Bundle:
    """Observes a training and keeps the record, as `harness.tracking.Tracker` does where there is MLflow."""

    def __init__(self, folder: RunFolder, spec: RunSpec, tags: dict[str, str], source: str) -> None:
        self.folder, self.spec, self.tags, self.source = folder, spec, tags, source
        self._metrics = folder.path / "metrics.jsonl"

    def __enter__(self) -> "Bundle":
        write_atomically(self.folder.path / "spec.json", self.spec.to_json().encode())
        if not (self.folder.path / ENVIRONMENT).exists():
            self.folder.begin(self.tags, self.source)
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is open between two calls."""

    def started(self, history: History) -> None:
        """Let the lines be those of the checkpoint: a kill may have left half a line, or one too few."""
        write_atomically(self._metrics, "".join(f"{json.dumps(row)}\n" for row in history).encode())

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Nothing to keep."""

    def epoch(self, row: dict[str, float]) -> None:
        """Add a line, and see it on the disk."""
        with open(self._metrics, "a") as file:
            file.write(f"{json.dumps(row)}\n")
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Nothing is told of the time that keeping the record takes."""
        yield

    def finish(self, result: Result, history: History, model: Any, images: np.ndarray) -> None:
        """Seal the bundle. The model is in the checkpoint."""
        path = self.folder.path
        # Nothing else of the folder, where a kill may have left a file half written, or a system a file of its own.
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
    """A bundle that is whole. begun, ended: ms since 1970; files: relative to its path."""

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
    """Whether the run is a bundle that is complete, made here or imported."""
    return (folder.path / "bundle.json").exists()


def read_bundle(path: Path) -> Sealed:
    """The bundle in a folder. Raises BadInput that names what is missing or damaged."""
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
    """Whether a file of that name is part of a bundle; a seal that names others was not made by this module."""
    parts = PurePosixPath(name).parts
    return name in (*ALWAYS, CHECKPOINT) or (parts[:1] == ("artifacts",) and ".." not in parts)


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
