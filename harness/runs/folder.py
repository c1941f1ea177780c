"""A run on disk: one folder per run key, valid after a kill at any moment.

    mlruns/runs/<key>/config.json       what the run is
                     /environment.json  where it is trained: versions, hardware, commit; when it began
                     /checkpoint.npz    state and history after the last finished epoch
                     /result.json       there once the run is over
                     /artifacts/        what the report draws and the tracker uploads

The folder is the truth; MLflow is a view of it that can be brought up to date at any time.
"""

import contextlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np

from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.common.files import atomic, remove_unfinished, write_atomically
from harness.config import RunConfig, from_json

#: One row per finished epoch: "epoch" (from 1), "timestamp" (ms since 1970), and the metrics of the epoch.
History = list[dict[str, float]]


ENVIRONMENT = "environment.json"

#: Of what is recorded of a run's environment, that which may change the last bits of its numbers.
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
    """The tags that may change the last bits of a run's numbers: runs with the same are equal bit for bit."""
    return {name: tags[name] for name in DECISIVE if name in tags}


@dataclass(frozen=True)
class Result:
    """How a run ended. A `diverged` one has a reason and no final metrics.

    `measured_by` is the hash of the code that measured it (harness/source_hash), empty for a run from before there was
    one: numbers of different code may mean different things.
    """

    status: Literal["finished", "diverged"]
    reason: str
    metrics: dict[str, float]
    weights_sha256: str
    error_per_class: dict[str, float]
    confusion: list[list[int]]
    measured_by: str = ""


class RunFolder:
    """The files of one run."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.path = paths.mlruns() / "runs" / config.key
        self.artifacts = self.path / "artifacts"
        self._checkpoint = self.path / "checkpoint.npz"
        self._result = self.path / "result.json"

    @contextlib.contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the run for this process. Raises HarnessError when another one has it; or waits until it has not.

        The operating system lets go of the lock when its holder dies, however it dies.
        """
        holder = self.path / "holder"
        lock = filelock.FileLock(self.path / "lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            who = holder.read_text() if holder.exists() else "another process"
            raise HarnessError(
                f"Run {self.config.key} is being trained by {who} already. Wait for it to end (this command then "
                f"shows its result), or stop it: its finished epochs are kept and this command goes on from there."
            ) from None
        except OSError as error:
            raise HarnessError(
                f"{self.path} cannot be written to ({error.strerror}): free some space or choose "
                f"another place with $HARNESS_MLRUNS."
            ) from error
        try:
            remove_unfinished(self.path)
            write_atomically(holder, f"process {os.getpid()} on {os.uname().nodename}".encode())
            if not (self.path / "config.json").exists():
                write_atomically(self.path / "config.json", self.config.to_json().encode())
            yield
        finally:
            lock.release()

    def begin(self, tags: dict[str, str], data_source: str) -> None:
        """Record where the run is trained, before its first epoch or when it goes on. data_source: of its images."""
        known = self._read_environment()
        earlier = known.get("earlier", [])
        if known and decisive(known["tags"]) != decisive(tags):
            earlier = [*earlier, known["tags"]]
        environment = {
            "begun": known.get("begun", int(time.time() * 1000)),
            "source": data_source,
            "tags": tags,
            "earlier": earlier,
        }
        write_atomically(self.path / ENVIRONMENT, json.dumps(environment, indent=1).encode())

    def environments(self) -> list[dict[str, str]]:
        """What decided the last bits of the run's numbers beside its config; more than one where it was continued."""
        known = self._read_environment()
        return [decisive(tags) for tags in (*known.get("earlier", []), known["tags"])] if known else []

    def _read_environment(self) -> dict[str, Any]:
        file = self.path / ENVIRONMENT
        with self._readable(file):
            return json.loads(file.read_text()) if file.exists() else {}

    def clear(self) -> None:
        """Forget all that the run has done (`--fresh`)."""
        # The result first: without it, a kill in the middle leaves a run that is not over.
        for name in ("result.json", "bundle.json", ENVIRONMENT, "mlflow.json", "checkpoint.npz"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def save(self, state: Mapping[str, Any], history: History) -> None:
        """Write state and history as one file that is either the old one or the new one, never half."""
        with atomic(self._checkpoint) as file:
            arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
            names = np.array(json.dumps(sorted(arrays)))
            np.savez(file, history=np.array(json.dumps(history)), names=names, **arrays)

    def load(self) -> tuple[dict[str, np.ndarray], History] | None:
        """State and history after the last finished epoch, or None before the first."""
        if not self._checkpoint.exists():
            return None
        try:
            with np.load(self._checkpoint) as file:
                arrays = {name: file[name] for name in file.files}
            history, names = (json.loads(str(arrays.pop(name))) for name in ("history", "names"))
            if sorted(arrays) != names:
                # Damage to a zip file's list of contents can hide some of them.
                raise ValueError("it lacks arrays of the state")
            return arrays, history
        # A damaged header may say anything: that the file is encrypted, or that it is no archive but one array.
        except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise BadInput(
                f"The checkpoint {self._checkpoint} cannot be read ({error}): the disk or a copy has damaged it. "
                f"Start this run over with --fresh, or put a good copy of the file back."
            ) from error

    def history(self) -> History:
        """The rows of a run that is over; no checkpoint is needed."""
        file = self.artifacts / "history.json"
        with self._readable(file):
            return json.loads(file.read_text()) if file.exists() else []

    def finish(self, result: Result, history: History) -> None:
        """Record how the run ended."""
        write_atomically(self.artifacts / "history.json", json.dumps(history, indent=1).encode())
        write_atomically(self._result, json.dumps(asdict(result), indent=1).encode())

    def result(self) -> Result | None:
        """How the run ended, or None while it has not."""
        with self._readable(self._result):
            return Result(**json.loads(self._result.read_text())) if self._result.exists() else None

    @contextlib.contextmanager
    def _readable(self, file: Path) -> Iterator[None]:
        """Say of a file that `finish` wrote, and that cannot be understood, which it is, and the way out."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{file} cannot be read ({error}): the disk or a copy has damaged it. Delete {self._result}, and the "
                f"same command makes it again from the run's checkpoint; or put a good copy of the file back."
            ) from error


def all_runs() -> list[RunFolder]:
    """Every run on this machine's disk whose config and result this code still understands."""
    folders = []
    for file in (paths.mlruns() / "runs").glob("*/config.json"):
        with contextlib.suppress(TypeError, ValueError, KeyError, BadInput):
            folder = RunFolder(from_json(file.read_text()))
            folder.result()
            folders.append(folder)
    return folders
