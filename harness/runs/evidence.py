"""The committed evidence: every run that README and docs quote, in two tables.

    experiments/results/evidence/runs.parquet    a row per run: spec, settings, result, machine, versions, commit
                                /epochs.parquet  a row per run and epoch: its metrics, probes included

A finished run enters it from its bundle, with all that a report needs: a fresh clone can make every report again and
need not train. `correct` has one bit per evaluation image, eight to a byte, in the order of the images.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from harness.common import paths
from harness.common.errors import BadInput
from harness.common.files import atomic
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.config import RunConfig, value_text
from harness.runs.bundle import Sealed
from harness.runs.records import History, Result, decisive
from harness.runs.spec import RunSpec, run_spec_from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet
else:
    pa = lazy_import("pyarrow")
    parquet = lazy_import("pyarrow.parquet")

FOLDER = PROJECT / "experiments" / "results" / "evidence"

#: A run of one configuration may be in the evidence once for each device.
IDENTITY = ["run_key", "device"]


@dataclasses.dataclass(frozen=True)
class EvidenceRun:
    """A run of the evidence. tags: machine, versions and commit. begun, ended: ms since 1970."""

    spec: RunSpec
    result: Result
    history: History
    tags: dict[str, str]
    begun: int
    ended: int

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.spec.config

    @property
    def artifacts(self) -> Path:
        """A folder that is not there: the tables keep no figures and no probabilities."""
        return FOLDER / self.config.key

    def probabilities(self) -> None:
        """The tables keep none."""

    def environments(self) -> list[dict[str, str]]:
        """Return the `decisive` tags of the environment it was trained in, as `RunFolder.environments` does."""
        return [decisive(self.tags)]


def evidence_of(sealed: Sealed, commit: str | None = None) -> EvidenceRun:
    """Return a bundle as evidence.

    commit: the commit that the run was trained with, if what the run says of it is known to be wrong. Raises BadInput
    if the code had changes that were not committed: nobody could get them.
    """
    tags = dict(sealed.tags)
    if commit:
        tags |= {"git_commit": commit, "git_dirty": "false"}
    if tags.get("git_dirty") != "false":
        raise BadInput(
            f"{sealed.path.name} ({sealed.spec.name}) was trained by code that is in no commit, so it is no evidence. "
            f"Commit, and train it again; if it was that of a commit all the same, --commit names that."
        )
    if "device" not in tags:
        raise BadInput(f"{sealed.path.name} ({sealed.spec.name}) does not say on which device it was trained.")
    return EvidenceRun(sealed.spec, sealed.result, sealed.history, tags, sealed.begun, sealed.ended)


def add(runs: Iterable[EvidenceRun], folder: Path = FOLDER) -> int:
    """Add runs to the tables, and return how many were not in them. The order of the rows does not depend on it."""
    paths.mlruns().mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(paths.mlruns() / "evidence.lock"):
        known = {identity(run): run for run in read(folder)}
        before = len(known)
        for run in runs:
            known.setdefault(identity(run), run)
        if len(known) > before:
            write(list(known.values()), folder)
        return len(known) - before


def identity(run: EvidenceRun | Sealed) -> tuple[str, str]:
    """Return what a run is in the tables once for: its key and its device, empty if a bundle does not say it."""
    return run.spec.config.key, run.tags.get("device", "")


def same_weights(runs: Iterable[EvidenceRun]) -> dict[frozenset[str], tuple[int, int]]:
    """Return, for each two devices that both trained some runs, in how many of these they gave the same weights.

    The value is that number, and the number of the runs. Equal weights are equal bit for bit.
    """
    weights: dict[str, dict[str, str]] = {}
    for run in runs:
        if run.result.weights_sha256:
            weights.setdefault(run.config.key, {})[run.tags["device"]] = run.result.weights_sha256
    found: dict[frozenset[str], tuple[int, int]] = {}
    for of_device in weights.values():
        for one, other in itertools.combinations(of_device, 2):
            same, both = found.get(frozenset({one, other}), (0, 0))
            found[frozenset({one, other})] = same + (of_device[one] == of_device[other]), both + 1
    return found


def write(runs: list[EvidenceRun], folder: Path = FOLDER) -> None:
    """Write the tables. The same runs give the same tables."""
    runs = sorted(runs, key=identity)
    epochs = [_identity_columns(run) | row for run in runs for row in run.history]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {"epochs": epochs, "runs": [_row(run) for run in runs]}.items():
        columns = dict.fromkeys(name for row in rows for name in row)
        # A run that lacks a metric has null there; nan is a value.
        table = pa.table({column: [row.get(column) for row in rows] for column in columns})
        with atomic(folder / f"{name}.parquet") as file:
            parquet.write_table(table, file, compression="zstd")


def _identity_columns(run: EvidenceRun) -> dict[str, str]:
    return dict(zip(IDENTITY, identity(run), strict=True))


def _row(run: EvidenceRun) -> dict[str, Any]:
    """One row: what a reader asks for in columns of their own, and what only this module reads as JSON."""
    config, result = run.config, run.result
    settings = {name: value for name, value in config.flat().items() if name != "dropout"}
    return {
        **_identity_columns(run),
        **{name: getattr(run.spec, name) for name in ("experiment", "variant", "budget", "phase", "changes", "factor")},
        "named_recipe": run.spec.recipe,
        **settings,
        "dropout": value_text(config.recipe.dropout),
        "status": result.status,
        **{name: result.metrics.get(name) for name in ("accuracy", "cross_entropy", "calibration_error")},
        "training_seconds": result.metrics.get("training_seconds"),
        "measured_by": result.measured_by,
        "correct": result.correct,
        "begun": run.begun,
        "ended": run.ended,
        **{name: run.tags.get(name, "") for name in ("cpu", "threads", "git_commit")},
        "spec": run.spec.to_json(),
        "result": json.dumps({k: v for k, v in vars(result).items() if k != "correct"}, sort_keys=True),
        "environment": json.dumps(run.tags, sort_keys=True),
    }


def read(folder: Path = FOLDER) -> list[EvidenceRun]:
    """Return all runs of the tables, none if there are no tables.

    Raises BadInput if they cannot be read, or hold what was not written here: somebody has changed them.
    """
    if not (folder / "runs.parquet").exists():
        return []
    try:
        runs, epochs = (parquet.read_table(folder / f"{name}.parquet").to_pylist() for name in ("runs", "epochs"))
        histories: dict[tuple[str, str], History] = {}
        for row in epochs:
            key, device = (row.pop(name) for name in IDENTITY)
            metrics = {name: value for name, value in row.items() if value is not None}
            histories.setdefault((key, device), []).append(metrics)
        found = [
            EvidenceRun(
                spec=run_spec_from_json(row["spec"]),
                result=Result(**json.loads(row["result"]), correct=row["correct"]),
                history=histories.get((row["run_key"], row["device"]), []),
                tags=json.loads(row["environment"]),
                begun=int(row["begun"]),
                ended=int(row["ended"]),
            )
            for row in runs
        ]
        for row, run in zip(runs, found, strict=True):
            _check_whole(row, run)
        if len({identity(run) for run in found}) < len(found):
            raise ValueError("a run is there twice")
        return found
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise BadInput(f"The evidence in {folder} cannot be read ({error}): take it from git again.") from error


def _check_whole(row: Mapping[str, Any], run: EvidenceRun) -> None:
    """Raise ValueError unless a row's columns are those of its run, and its epochs are there."""
    for name, value in _row(run).items():
        # A setting that is newer than the tables has no column yet.
        if name in row and row[name] != value:
            raise ValueError(f"{name} of the run {run.config.key} is {row[name]!r}, and in its own record {value!r}")
    if run.result.status == "finished" and not run.history:
        raise ValueError(f"the epochs of the run {run.config.key} are missing")
