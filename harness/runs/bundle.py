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

import base64
import contextlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.common.documents import read_bytes, read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.config import RunConfig
from harness.runs.checkpoint import LARGEST_CHECKPOINT
from harness.runs.folder import CHECKPOINT, ENVIRONMENT, HISTORY, RESULT, RunFolder
from harness.runs.records import Environment, History, Result, parse_history
from harness.runs.seal import sha256
from harness.runs.spec import RunSpec

FORMAT = 1

#: The files that every bundle has, besides its artifacts. The checkpoint is large, and needed only for the model: a
#: bundle may be copied without it.
ALWAYS = ("config.json", "spec.json", ENVIRONMENT, "metrics.jsonl", RESULT, HISTORY)

#: The most files of a bundle, and the most characters of a tag: MLflow takes no more.
MOST_FILES, LONGEST_TAG = 100, 8000

#: What MLflow takes as a name, with some room for what is put before it.
NAME = re.compile(r"[\w.: -]+(/[\w.: -]+)*", re.ASCII)
LONGEST_NAME = 200

#: The last millisecond of the year 9999, after which there is no date.
LATEST = 253_402_300_799_999

#: Tags that would change what becomes of the record: none of a run's environment is called so.
OF_RECORDS = ("creation", "kind", "outcome", "reason", "superseded")


@dataclass(frozen=True)
class BundleSeal:
    """bundle.json. ended: ms since 1970. files: names -> sha256."""

    format: int
    ended: int
    files: dict[str, str]


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
        # No other files: the operating system may have left one of its own.
        files = {path / name for name in (*ALWAYS, CHECKPOINT) if (path / name).exists()}
        files |= set(self.folder.artifact_files())
        seal = {
            "format": FORMAT,
            # A bundle may be sealed anew, long after its run has ended.
            "ended": (path / RESULT).stat().st_mtime_ns // 1_000_000,
            "files": {file.relative_to(path).as_posix(): sha256(file) for file in sorted(files)},
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


def is_whole(folder: RunFolder) -> bool:
    """Whether the run folder is a complete bundle, and its files are what was sealed: all of them are read."""
    try:
        return bool(read_bundle(folder.path))
    except BadInput:
        return False


def read_bundle(path: Path) -> Sealed:
    """Read and check the bundle in a folder. Raises BadInput that names what is missing, damaged or malicious."""
    try:
        seal: BundleSeal = read_json(_regular(path, "bundle.json"), BundleSeal)
        if seal.format != FORMAT:
            raise BadInput(f"{path} is a bundle of format {seal.format}; this version reads format {FORMAT}.")
        missing = [name for name in ALWAYS if name not in seal.files]
        foreign = [name for name in seal.files if not _belongs(name)]
        if missing or foreign or len(seal.files) > MOST_FILES:
            what = f"names {foreign[0]!r}" if foreign else f"lacks {', '.join(missing)}" if missing else "is too long"
            raise ValueError(f"its seal {what}")
        there = [
            name for name in seal.files if name != CHECKPOINT or (path / name).is_symlink() or (path / name).exists()
        ]
        for name in there:
            if sha256(_regular(path, name)) != seal.files[name]:
                raise BadInput(f"{path / name} is not what it was when the bundle was sealed: copy the bundle again.")
        spec, config = read_json(path / "spec.json", RunSpec), read_json(path / "config.json", RunConfig)
        if config != spec.config or config.key != path.name:
            raise BadInput(f"{path} holds the run {config.key} under another name: copy the bundle again.")
        environment: Environment = read_json(path / ENVIRONMENT, Environment)
        result, history = read_json(path / RESULT, Result), parse_history(read_bytes(path / HISTORY))
        _check_whole(config, result, history)
        _check_recordable(spec, environment, result, history, seal.ended)
        return Sealed(
            path=path,
            spec=spec,
            result=result,
            history=history,
            tags=environment.tags,
            source=environment.source,
            begun=environment.begun,
            ended=seal.ended,
            files=there,
        )
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no whole bundle ({error}): copy it again from where it was made.") from error


def _belongs(name: str) -> bool:
    """Whether a bundle may have a file of that name. This module writes no seal with other names."""
    parts = PurePosixPath(name).parts
    return name in (*ALWAYS, CHECKPOINT) or (len(parts) > 1 and parts[0] == "artifacts" and ".." not in parts)


def _regular(path: Path, name: str) -> Path:
    """Return the file of that name below `path`. Raises OSError, or ValueError for links, devices and huge files."""
    for part in PurePosixPath(name).parts:
        path = path / part
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise ValueError(f"{path} is a link")
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_CHECKPOINT:
        raise ValueError(f"{path} is no regular file, or too large")
    return path


def _check_whole(config: RunConfig, result: Result, history: History) -> None:
    """Raise ValueError if a result or a history lacks what reports and figures need."""
    if len(history) > config.recipe.epochs:
        raise ValueError(f"its history has {len(history)} epochs of {config.recipe.epochs}")
    measured = {f"{part}_{name}" for part in ("train", config.judged) for name in ("loss", "accuracy")}
    for row in history:
        if lacking := (measured | {"pflop", "epoch_seconds"}) - row.keys():
            raise ValueError(f"its epoch {row['epoch']} has no {min(lacking)}")
    if result.status == "diverged":
        return
    if len(history) < config.recipe.epochs:
        raise ValueError(f"its history has {len(history)} epochs of {config.recipe.epochs}")
    metrics = [result.metrics.get(name, math.nan) for name in ("accuracy", "cross_entropy", "training_seconds")]
    if not all(map(math.isfinite, metrics)) or not 0 <= metrics[0] <= 1:
        raise ValueError("its result lacks an accuracy, a cross-entropy or a time that can be")
    if result.correct and len(base64.b64decode(result.correct, validate=True)) != -(-config.eval_images // 8):
        raise ValueError("its result says of other images whether they were classified right")
    classes = len(result.error_per_class)
    if [len(row) for row in result.confusion] != [classes] * classes:
        raise ValueError("its confusion matrix is not one of its classes")


def _check_recordable(spec: RunSpec, environment: Environment, result: Result, history: History, ended: int) -> None:
    """Raise ValueError for what MLflow would refuse, or take for its own: the run would be half-way in by then."""
    names = {*environment.tags, *result.error_per_class, *(name for row in history for name in row)}
    for name in sorted(names):
        if not NAME.fullmatch(name) or {".", ".."} & {*name.split("/")} or len(name) > LONGEST_NAME:
            raise ValueError(f"{name[:40]!r} is no name of a tag, a class or a metric")
    if taken := next((name for name in environment.tags if name in OF_RECORDS or name.startswith("mlflow.")), None):
        raise ValueError(f"{ENVIRONMENT} has a tag {taken!r}, which only the record of a run has")
    for text in (*environment.tags.values(), environment.source, spec.name, result.reason, result.weights_sha256):
        if len(text) > LONGEST_TAG:
            raise ValueError(f"a text of {ENVIRONMENT}, spec.json or {RESULT} has more than {LONGEST_TAG:,} characters")
    if not all(0 <= time <= LATEST for time in (environment.begun, ended, *(row["timestamp"] for row in history))):
        raise ValueError("it has a time before 1970 or after 9999")
    if any(isinstance(value, int) and abs(value) > LATEST for row in history for value in row.values()):
        raise ValueError("its history has a number that is too large")
