"""A run on disk: one folder per run key, valid after a kill at any moment.

    mlruns/runs/<key>/config.json       the configuration of the run
                     /environment.json  where it is trained: versions, hardware, commit; when it began
                     /checkpoint.npz    state and history after the last finished epoch
                     /result.json       exists once the run has ended
                     /artifacts/        files that the report reads and the tracker uploads

The run folder is authoritative. MLflow holds a copy that can be brought up to date at any time.
"""

import base64
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


class RunFolder:
    """The files of one run."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.path = paths.mlruns() / "runs" / config.key
        self._checkpoint = self.path / "checkpoint.npz"
        self._result = self.path / "result.json"

    @property
    def artifacts(self) -> Path:
        """The files that the report reads and the tracker uploads."""
        return self.path / "artifacts"

    @contextlib.contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the run's lock. If another process has it, raise HarnessError, or with `wait` wait for the lock.

        The operating system releases the lock when the process that holds it dies, for whatever reason.
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
        """Record the environment, before the first epoch or when the run resumes. data_source: where its images are."""
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
        """Return the `decisive` tags of each environment the run was trained in.

        There is more than one if the run was resumed in a different environment.
        """
        known = self._read_environment()
        return [decisive(tags) for tags in (*known.get("earlier", []), known["tags"])] if known else []

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of the environment the run was last trained in: its names, versions, hardware and commit."""
        return self._read_environment().get("tags", {})

    def begun(self) -> int | None:
        """Return when the first epoch began, in ms since 1970; None if that is not known."""
        return self._read_environment().get("begun")

    def size(self) -> int:
        """Return how many bytes its files take."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def other_device(self, tags: Mapping[str, str]) -> str | None:
        """Return the device that the run's checkpoint was made on, if it is of another kind than that of these tags.

        GPUs of different models are of different kinds, and so are a GPU and any CPU. CPUs are of one kind: what
        differs between them is only recorded (`environments`).
        """
        known = self._read_environment().get("tags", {})
        if not self._checkpoint.exists() or known.get("device", tags["device"]) == tags["device"]:
            return None
        on_cpus = known["device"] == known.get("cpu") and tags["device"] == tags["cpu"]
        return None if on_cpus else known["device"]

    def _read_environment(self) -> dict[str, Any]:
        file = self.path / ENVIRONMENT
        with self._readable(file):
            return json.loads(file.read_text()) if file.exists() else {}

    def clear(self) -> None:
        """Delete the state and the results of the run (`--fresh`)."""
        # The result first: after a kill half-way, the run then does not count as finished. The environment after the
        # checkpoint: it says where that was made.
        for name in ("result.json", "bundle.json", "checkpoint.npz", ENVIRONMENT, "mlflow.json"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def remove(self) -> None:
        """Delete the run and its folder. The caller holds its lock."""
        # First what makes it a run: after a kill half-way there is none.
        self.clear()
        shutil.rmtree(self.path)

    def drop_checkpoint(self, *, dry_run: bool = False) -> int:
        """Delete the checkpoint of a run that has ended; return its size in bytes, 0 if there is none to delete."""
        if self.result() is None or not self._checkpoint.exists():
            return 0
        size = self._checkpoint.stat().st_size
        if not dry_run:
            self._checkpoint.unlink()
        return size

    def save(self, state: Mapping[str, Any], history: History) -> None:
        """Write state and history as one checkpoint file, atomically: after a kill it is the old or the new one."""
        with atomic(self._checkpoint) as file:
            arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
            names = np.array(json.dumps(sorted(arrays)))
            np.savez(file, history=np.array(json.dumps(history)), names=names, **arrays)

    def load(self) -> tuple[dict[str, np.ndarray], History] | None:
        """Return state and history after the last finished epoch, or None before the first. Raises BadInput."""
        if not self._checkpoint.exists():
            return None
        try:
            with np.load(self._checkpoint) as file:
                arrays = {name: file[name] for name in file.files}
            history, names = (json.loads(str(arrays.pop(name))) for name in ("history", "names"))
            if sorted(arrays) != names:
                # A damaged table of contents can hide some arrays of a zip file.
                raise ValueError("it lacks arrays of the state")
            return arrays, history
        # A damaged header can lead to any of these errors, e.g. by saying that the file is encrypted or a single array.
        except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise BadInput(
                f"The checkpoint {self._checkpoint} cannot be read ({error}): the disk or a copy has damaged it. "
                f"Start this run over with --fresh, or put a good copy of the file back."
            ) from error

    def history(self) -> History:
        """Return the history of a run that has ended. Needs no checkpoint."""
        file = self.artifacts / "history.json"
        with self._readable(file):
            return json.loads(file.read_text()) if file.exists() else []

    def finish(self, result: Result, history: History) -> None:
        """Write the history and the result of a run that has ended."""
        write_atomically(self.artifacts / "history.json", json.dumps(history, indent=1).encode())
        write_atomically(self._result, json.dumps(asdict(result), indent=1).encode())

    def result(self) -> Result | None:
        """Return the result of the run, or None if it has not ended."""
        with self._readable(self._result):
            return Result(**json.loads(self._result.read_text())) if self._result.exists() else None

    @contextlib.contextmanager
    def _readable(self, file: Path) -> Iterator[None]:
        """Turn an error in reading a JSON file of the run into a BadInput that names the file and what to do."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{file} cannot be read ({error}): the disk or a copy has damaged it. Delete {self._result}, and the "
                f"same command makes it again from the run's checkpoint; or put a good copy of the file back."
            ) from error


def all_runs() -> list[RunFolder]:
    """Return every run in `mlruns/` whose config and result this code can read."""
    folders = []
    for file in (paths.mlruns() / "runs").glob("*/config.json"):
        with contextlib.suppress(TypeError, ValueError, KeyError, BadInput):
            folder = RunFolder(from_json(file.read_text()))
            folder.result()
            folders.append(folder)
    return folders
