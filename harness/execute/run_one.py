"""Train one run: take its lock, open the engine, train, and record the result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.common.errors import HarnessError
from harness.config import RunConfig
from harness.data import Dataset
from harness.engine.backend import open_engine
from harness.engine.devices import check_precision, computing_threads
from harness.engine.loop import Callback, train
from harness.execute.ended import Draw, record_ended, trained_model
from harness.execute.mend import mend, set_aside_a_damaged_checkpoint
from harness.plan import images_of
from harness.runs.bundle import is_sealed
from harness.runs.folder import RunFolder
from harness.runs.records import Result, decisive_differences
from harness.runs.spec import RunResult, RunSpec
from harness.source_hash import measures_hash, source_hash
from harness.tracking.provenance import provenance
from harness.tracking.recorder import Recorder


def _changes_of_environment(folder: RunFolder, tags: Mapping[str, str]) -> str:
    """Return what differs from the environment of the run's finished epochs, as text; empty if nothing does."""
    known = folder.environment()
    if not known or not folder.checkpoint.exists():
        return ""
    differences = decisive_differences(known.tags, tags)
    return ", ".join(f"{name} {then} -> {now}" for name, (then, now) in differences.items())


class Watcher(Protocol):
    """Shows the progress of many runs while workers train them."""

    def update(self) -> None:
        """Check which runs have ended since the last call, and show it."""


@dataclass(frozen=True)
class Displays:
    """Make the displays shown during training: `run` of one run (name, config), `runs` of many (specs, workers).

    say: shows a line of text.
    """

    run: Callable[[str, RunConfig], AbstractContextManager[Callback]]
    runs: Callable[[Sequence[RunSpec], int], AbstractContextManager[Watcher]]
    say: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How runs are trained: the same for all runs of a command.

    probe: measure the network's internals after every epoch of the runs that reports compare. workers: number of worker
    processes; None means `default_workers` (harness/execute/workers.py). slurm: options of Slurm jobs, if the workers
    are jobs.
    """

    recorder: Recorder
    displays: Displays
    draw: Draw
    probe: bool = True
    workers: int | None = None
    slurm: str | None = None


def is_done(spec: RunSpec, recorder: Recorder) -> bool:
    """Whether a run has ended, all of its files are whole, and it is completely recorded, its model included.

    All of that is looked at. A model that is missing counts only if the run has a checkpoint to make it from.
    """
    folder = RunFolder(spec.config)
    return not folder.damage() and (result := folder.result()) is not None and _is_recorded(spec, result, recorder)


def _is_recorded(spec: RunSpec, result: Result, recorder: Recorder) -> bool:
    folder = RunFolder(spec.config)
    if not recorder.is_complete(folder):
        return False
    can_have_model = spec.keeps_model and result.status == "finished" and folder.checkpoint.exists()
    return not can_have_model or recorder.has_model(folder)


def result_of(spec: RunSpec) -> RunResult | None:
    """Return the result of a run, or None if it has not ended."""
    folder = RunFolder(spec.config)
    result = folder.result()
    return RunResult(spec, folder, result, folder.history()) if result else None


def forget(spec: RunSpec, recorder: Recorder) -> None:
    """Delete what a run has done so that it starts over (`--fresh`), and mark its record as superseded."""
    folder = RunFolder(spec.config)
    with folder.locked():
        _forget(folder, recorder)


def _forget(folder: RunFolder, recorder: Recorder) -> None:
    # In this order: after a kill, no record of a run that counts as finished is superseded.
    folder.reopen()
    recorder.supersede(folder)
    folder.clear()


def check(spec: RunSpec, dataset: Dataset) -> None:
    """Raise HarnessError if a run was planned with other data or other code than this machine has."""
    config = spec.config
    if dataset.fingerprint != config.data_fingerprint:
        raise HarnessError(
            f"The data here ({dataset.name}, {dataset.fingerprint[:12]}, from {dataset.source}) are not those "
            f"of the run {spec.name} ({config.data}, {config.data_fingerprint[:12]}); set $CIFAR10_DIR to the same."
        )
    if config.source != source_hash(config.engine):
        raise HarnessError(
            f"The code here ({source_hash(config.engine)}) is not the code that planned the run {spec.name} "
            f"({config.source}): they would not give the same numbers. Use the same commit."
        )


def run_one(
    spec: RunSpec,
    dataset: Dataset,
    execution: Execution,
    callbacks: Sequence[Callback] = (),
    *,
    wait: bool = False,
) -> Result:
    """Train a run to its end, from its last checkpoint if there is one, and return its result.

    If the checkpoint was made on another kind of device, the run starts over (`RunFolder.other_device`).

    wait: if another process is training the run, wait for it instead of raising. Raises HarnessError if the run was
    planned with other data or code (`check`), or if another process is training it.
    """
    check(spec, dataset)
    folder, recorder = RunFolder(spec.config), execution.recorder
    with folder.locked(wait=wait):
        mend(folder, spec, recorder, execution.displays.say)
        result = folder.result()
        if result and _is_recorded(spec, result, recorder):
            return result
        set_aside_a_damaged_checkpoint(folder, spec, execution.displays.say)
        if result:
            if recorder.offline and is_sealed(folder):
                execution.displays.say(f"{spec.name}: its bundle is damaged, and is sealed anew from what is whole.")
            model = trained_model(folder.path, spec, result, dataset) if recorder.keeps_artifacts else None
            record_ended(folder, spec, recorder, dataset, execution.draw, model)
            return result
        return _train(folder, spec, dataset, execution, callbacks)


def _train(
    folder: RunFolder, spec: RunSpec, dataset: Dataset, execution: Execution, callbacks: Sequence[Callback]
) -> Result:
    """Train what is left of a run whose folder is locked, record it, and return its result."""
    recorder = execution.recorder
    # An import that was killed may have left this file. The run is now trained on this machine.
    (folder.path / "bundle.json").unlink(missing_ok=True)
    split = images_of(spec.config, dataset)
    engine = open_engine(spec.config, split)
    check_precision(spec.config.precision, spec.config.engine)
    here = {"device": engine.device, "threads": str(computing_threads(spec.config))}
    tags = provenance() | spec.tags | here
    if device := folder.other_device(tags):
        # Nobody may be there to decide, and no result is lost.
        execution.displays.say(
            f"{spec.name}: its finished epochs are of another device ({device}) than the one here "
            f"({engine.device}), which rounds differently; it starts over."
        )
        _forget(folder, recorder)
    elif changes := _changes_of_environment(folder, tags):
        execution.displays.say(
            f"{spec.name} goes on in another environment than it was begun in ({changes}): its last bits are those "
            f"of neither. environment.json keeps both, and reports say so."
        )
    folder.begin(tags, dataset.source)
    with recorder.record(folder, spec, tags, dataset.source) as record:
        probe = execution.probe and spec.is_compared
        ended = train(spec.config, engine, split, folder, [*callbacks, record], probe=probe)
        result = dataclasses.replace(ended.result, measured_by=measures_hash(spec.config.engine))
        ended = dataclasses.replace(ended, result=result)
        if recorder.keeps_artifacts:
            with record.timed():
                folder.artifacts.mkdir(exist_ok=True)
                if spec.keeps_model:
                    execution.draw(folder, spec.name, result, ended.history)
                if result.status == "finished":
                    folder.keep_probabilities(ended.probabilities)
        folder.finish(ended.result, ended.history)
        kept = spec.keeps_model and recorder.keeps_artifacts
        model = engine.export(ended.state) if kept and result.status == "finished" else None
        record.finish(ended.result, ended.history, model, split.eval_images)
    return ended.result
