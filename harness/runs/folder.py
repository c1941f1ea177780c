"""A run on disk: one folder per run key, valid after a kill at any moment.

    mlruns/runs/<key>/config.json       the configuration of the run
                     /environment.json  where it is trained: versions, hardware, commit; when it began
                     /checkpoint.npz    state and history after the last finished epoch
                     /artifacts/        files that the report reads and the tracker uploads
                     /seal.json         the sha256 of the files of a run that has ended
                     /result.json       exists once the run has ended

The run folder is authoritative. MLflow holds a copy that can be brought up to date at any time.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from harness.common import paths
from harness.common.documents import parse, read_bytes
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.files import atomic, remove_unfinished, write_atomically
from harness.config import RunConfig, from_json
from harness.runs.checkpoint import read_checkpoint, write_checkpoint
from harness.runs.records import Environment, History, Result, decisive, parse_history
from harness.runs.seal import SEAL, Seal, read_seal, sha256, write_seal

CONFIG, ENVIRONMENT, RESULT = "config.json", "environment.json", "result.json"
HISTORY, CHECKPOINT = "artifacts/history.json", "checkpoint.npz"
PROBABILITIES = "artifacts/probabilities.npz"

#: The names of the files that this program writes to `artifacts`.
OWN_NAME = re.compile(r"[a-z_]+\.(json|npz|png)")

log = logging.getLogger("harness")


class Damaged(BadInput):
    """A file of a run that has ended is not what it was."""


class RunFolder:
    """The files of one run."""

    def __init__(self, config: RunConfig, path: Path | None = None) -> None:
        """path: where it is, if it is not in `mlruns/`."""
        self.config = config
        self.path = path or paths.mlruns() / "runs" / config.key
        self.checkpoint = self.path / CHECKPOINT

    @property
    def artifacts(self) -> Path:
        """The files that the report reads and the tracker uploads."""
        return self.path / "artifacts"

    def artifact_files(self) -> list[Path]:
        """Return the files of `artifacts`.

        Without those that a kill left unfinished, and without those of others: file managers and programs that keep
        folders alike add some (`.DS_Store`, `Thumbs.db`, conflicted copies), change them and remove them again.
        """
        return [file for file in self.artifacts.rglob("*") if OWN_NAME.fullmatch(file.name) and file.is_file()]

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
            who = holder.read_text(errors="replace") if holder.exists() else "another process"
            raise HarnessError(
                f"Run {self.config.key} is being trained by {who} already. Wait for it to end (this command then "
                f"shows its result), or stop it: its finished epochs are kept and this command goes on from there. If "
                f"that process is known to be gone (on a file system without flock its lock outlives it where another "
                f"machine cannot see that it died), delete {self.path / 'lock'} and give the command again."
            ) from None
        except OSError as error:
            raise HarnessError(
                f"{self.path} cannot be written to ({error.strerror}): free some space or choose "
                f"another place with $HARNESS_MLRUNS."
            ) from error
        try:
            remove_unfinished(self.path)
            # A damaged seal is mended later, or the run is trained again.
            with contextlib.suppress(OSError, ValueError):
                self._check_seal(read_seal(self.path))
            write_atomically(holder, f"process {os.getpid()} on {os.uname().nodename}".encode())
            config = self.path / CONFIG
            if not self._has_its_config():
                if config.exists():
                    log.warning("%s was damaged and is written anew.", config)
                write_atomically(config, self.config.to_json().encode())
            yield
        finally:
            lock.release()

    def begin(self, tags: dict[str, str], data_source: str) -> None:
        """Record the environment, before the first epoch or when the run resumes. data_source: where its images are."""
        known = self.environment()
        earlier = known.earlier if known else []
        if known and decisive(known.tags) != decisive(tags):
            earlier = [*earlier, known.tags]
        self._write_environment(
            Environment(known.begun if known else int(time.time() * 1000), data_source, tags, earlier)
        )

    def forget_environment(self) -> None:
        """Record that nobody knows any more where the run was trained, because that file is damaged."""
        # Without tags it is another environment than any, so reports say that this run is unlike others.
        self._write_environment(Environment(int(time.time() * 1000), "unknown", {}))

    def _write_environment(self, environment: Environment) -> None:
        write_atomically(self.path / ENVIRONMENT, json.dumps(asdict(environment), indent=1).encode())

    def environments(self) -> list[dict[str, str]]:
        """Return the `decisive` tags of each environment the run was trained in.

        There is more than one if the run was resumed in a different environment.
        """
        known = self.environment()
        return [decisive(tags) for tags in (*known.earlier, known.tags)] if known else []

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of the environment the run was last trained in: its names, versions, hardware and commit."""
        known = self.environment()
        return known.tags if known else {}

    def begun(self) -> int | None:
        """Return when the first epoch began, in ms since 1970; None if that is not known."""
        known = self.environment()
        return known.begun if known else None

    def size(self) -> int:
        """Return how many bytes its files take."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def other_device(self, tags: Mapping[str, str]) -> str | None:
        """Return the device that the run's checkpoint was made on, if it is of another kind than that of these tags.

        GPUs of different models are of different kinds, and so are a GPU and any CPU. CPUs are of one kind: what
        differs between them is only recorded (`environments`).
        """
        environment = self.environment()
        known = environment.tags if environment else {}
        if not self.checkpoint.exists() or known.get("device", tags["device"]) == tags["device"]:
            return None
        on_cpus = known["device"] == known.get("cpu") and tags["device"] == tags["cpu"]
        return None if on_cpus else known["device"]

    def environment(self) -> Environment | None:
        """Return where the run is trained, or None if it has not begun. Raises Damaged."""
        content = self._read(ENVIRONMENT)
        return None if content is None else self._parsed(ENVIRONMENT, content, lambda text: parse(text, Environment))

    def reopen(self) -> None:
        """Let the run count as not finished. Its checkpoint is kept, and with it all that its end is made from."""
        for name in (RESULT, SEAL):
            (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete the state and the results of the run (`--fresh`)."""
        # The result first: after a kill half-way, the run then does not count as finished. The environment after the
        # checkpoint: it says where that was made.
        self.reopen()
        for name in ("bundle.json", CHECKPOINT, ENVIRONMENT, "mlflow.json"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def remove(self) -> None:
        """Delete the run and its folder. The caller holds its lock."""
        # First what makes it a run: after a kill half-way there is none.
        self.clear()
        shutil.rmtree(self.path)

    def drop_checkpoint(self, *, dry_run: bool = False) -> int:
        """Delete the checkpoint of a run that has ended; return its size in bytes, 0 if there is none to delete."""
        if self.result() is None or not self.checkpoint.exists():
            return 0
        size = self.checkpoint.stat().st_size
        if not dry_run:
            self.checkpoint.unlink()
        return size

    def save(self, state: Mapping[str, Any], history: History) -> None:
        """Write state and history as one checkpoint file, atomically: after a kill it is the old or the new one."""
        write_checkpoint(self.checkpoint, state, history, self.config.key)

    def load(self) -> tuple[dict[str, np.ndarray], History] | None:
        """Return state and history after the last finished epoch, or None before the first. Raises BadInput."""
        if not self.checkpoint.exists():
            return None
        try:
            return read_checkpoint(self.checkpoint, self.config.key)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"The checkpoint {self.checkpoint} cannot be read ({error}): the disk or a copy has damaged it. "
                f"Start this run over with --fresh, or put a good copy of the file back."
            ) from error

    def history(self) -> History:
        """Return the history of a run that has ended. Needs no checkpoint. Raises Damaged."""
        content = self._read(HISTORY)
        if content is None:
            if (self.path / RESULT).exists():
                raise self._damaged(HISTORY, "it is missing")
            return []
        return self._parsed(HISTORY, content, parse_history)

    def probabilities(self) -> np.ndarray | None:
        """Return what the final model gave the evaluation images, float16 [image, class], or None. Raises Damaged."""
        content = self._read(PROBABILITIES)
        return None if content is None else self._parsed(PROBABILITIES, content, _array)

    def keep_probabilities(self, probabilities: np.ndarray) -> None:
        """Write what the final model gave the evaluation images [image, class], as float16."""
        with atomic(self.path / PROBABILITIES) as file:
            np.savez_compressed(file, probabilities=probabilities.astype(np.float16))

    def finish(self, result: Result, history: History) -> None:
        """Write the history, the seal and the result of a run that has ended."""
        write_atomically(self.path / HISTORY, json.dumps(history, indent=1).encode())
        content = json.dumps(asdict(result), indent=1).encode()
        self.seal(content)
        # Last: a kill before it leaves a run that has not ended.
        write_atomically(self.path / RESULT, content)

    def seal(self, result: bytes) -> None:
        """Seal config, environment, artifacts, and the result, whose file may not exist yet."""
        files = self.artifact_files()
        # A checkpoint has checksums of its own.
        files += [file for file in (self.path / ENVIRONMENT,) if file.exists()]
        write_seal(self.path, files, {CONFIG: self.config.to_json().encode(), RESULT: result})

    def result(self) -> Result | None:
        """Return the result of the run, or None if it has not ended. Raises Damaged."""
        content = self._read(RESULT)
        return None if content is None else self._parsed(RESULT, content, lambda text: parse(text, Result))

    def damage(self) -> dict[str, str]:
        """Return what is damaged in a run: file name -> what is wrong with it.

        Of a run that has not ended, only the environment is looked at: `load` checks its checkpoint.
        """
        found = {}
        ended = (self.path / RESULT).exists()
        try:
            seal = read_seal(self.path) if ended else None
        except (OSError, ValueError) as error:
            return {SEAL: str(self._damaged(SEAL, str(error)))}
        checks = {ENVIRONMENT: self.environment, HISTORY: self.history, RESULT: self.result}
        for name, check in checks.items() if ended else [(ENVIRONMENT, self.environment)]:
            try:
                check()
            except Damaged as error:
                found[name] = str(error)
        if ended and not self._has_its_config():
            found[CONFIG] = str(self._damaged(CONFIG, "it is not what the run was begun with"))
        for name, digest in seal.files.items() if seal else ():
            file = self.path / name
            if name not in found and (not file.is_file() or sha256(file) != digest):
                found[name] = str(self._damaged(name, "it is not what it was" if file.is_file() else "it is missing"))
        return found

    def _read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none. Raises Damaged if it is not the one that was sealed.

        Only a run that has ended has a seal: before that, its files change.
        """
        try:
            content = read_bytes(self.path / name)
            seal = read_seal(self.path) if (self.path / RESULT).exists() else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._damaged(name, str(error)) from error
        self._check_seal(seal)
        if seal and seal.files.get(name) != hashlib.sha256(content).hexdigest():
            raise self._damaged(name, "it is not what it was when the run ended")
        return content

    def _has_its_config(self) -> bool:
        try:
            return read_bytes(self.path / CONFIG) == self.config.to_json().encode()
        except (OSError, ValueError):
            return False

    def _check_seal(self, seal: Seal | None) -> None:
        """Raise Damaged if the seal is of another run: somebody has renamed or copied its folder."""
        ours = hashlib.sha256(self.config.to_json().encode()).hexdigest()
        # Seals of earlier versions do not say.
        theirs = seal.files.get(CONFIG, ours) if seal else ours
        # If config.json does not bear it out, the seal is damaged.
        if theirs != ours and sha256(self.path / CONFIG) == theirs:
            raise Damaged(
                f"{self.path} holds the files of the run {theirs[:16]}, under another name: rename the folder to that, "
                f"or delete it. Then give the same command again."
            )

    def _parsed(self, name: str, content: bytes, read: Any) -> Any:
        try:
            return read(content)
        except ValueError as error:
            raise self._damaged(name, str(error)) from error

    def _damaged(self, name: str, why: str) -> Damaged:
        return Damaged(
            f"{self.path / name} cannot be read ({why}): the disk or a copy has damaged it. Put a good copy of the "
            f"file back, or give the run's command again: it makes the file from what is whole, else trains again."
        )


def _array(content: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content))["probabilities"]
    # What a cut or damaged zip file leads to.
    except (KeyError, TypeError, EOFError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(first_line(error)) from error


def run_at(path: Path) -> RunFolder:
    """Return the run whose folder is at `path`. Raises BadInput, OSError or ValueError if its config is damaged."""
    return RunFolder(from_json(_config_at(path).decode()), path)


def _config_at(path: Path) -> bytes:
    content = read_bytes(path / CONFIG)
    if (key := hashlib.sha256(content).hexdigest()[:16]) != path.name:
        if re.fullmatch("[0-9a-f]{16}", path.name):
            raise BadInput(f"{path / CONFIG} is damaged: the command of that run writes it anew.")
        raise BadInput(f"{path} is a copy of the run {key}, or was renamed: rename it to that, or delete it.")
    return content


def all_runs() -> list[RunFolder]:
    """Return every run in `mlruns/` whose config and result this code can read; a damaged one is named."""
    folders = []
    for file in sorted((paths.mlruns() / "runs").glob("*/config.json")):
        try:
            content = _config_at(file.parent)
            # Other versions of this code have other settings.
            with contextlib.suppress(ValueError):
                folder = RunFolder(from_json(content.decode()))
                folder.result()
                folders.append(folder)
        except BadInput as error:
            leave_out(str(error))
        except (OSError, ValueError) as error:
            leave_out(f"{file} cannot be read ({error}): the command of that run writes it anew.")
    return folders


def key_called(start: str, keys: Iterable[str]) -> str:
    """Return the run key among `keys` that begins with `start`. Raises BadInput unless there is exactly one."""
    # An empty variable of a script is the start of every key.
    matching = sorted(key for key in keys if start and key.startswith(start))
    if len(matching) != 1:
        which = f"; there are {', '.join(matching)}." if matching else ": `harness runs` lists them."
        raise BadInput(f"{start!r} is the start of {len(matching)} run keys, not of one{which}")
    return matching[0]


@functools.cache
def leave_out(why: str) -> None:
    """Say, once, that a run is left out of a list."""
    log.warning("A run is left out. %s", why)
