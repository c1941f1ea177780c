"""Runs one spec: the lock, the engine, the training, its record and the figures, in that order."""

import dataclasses

import numpy as np

from harness.common import paths
from harness.common.errors import HarnessError
from harness.data import Dataset
from harness.engine.loop import Observer, train
from harness.engine.protocol import open_engine
from harness.execute.import_bundle import tell_mlflow
from harness.plan import RunResult, RunSpec, images_of
from harness.runs.bundle import Bundle, is_sealed, read_bundle
from harness.runs.folder import Result, RunFolder
from harness.source_hash import measures_hash, source_hash
from harness.tracking import Tracker, is_tracked, supersede
from harness.tracking.provenance import provenance


def is_done(spec: RunSpec) -> bool:
    """Whether a spec is over and MLflow, or offline its bundle, has all of it."""
    return _is_done(RunFolder(spec.config))


def _is_done(folder: RunFolder) -> bool:
    return folder.result() is not None and (is_sealed if paths.is_offline() else is_tracked)(folder)


def result_of(spec: RunSpec) -> RunResult | None:
    """How a run ended, or None while it has not."""
    folder = RunFolder(spec.config)
    result = folder.result()
    return RunResult(spec, folder, result, folder.history()) if result else None


def forget(spec: RunSpec) -> None:
    """Let a run start over (`--fresh`); what MLflow has of it is marked as superseded."""
    folder = RunFolder(spec.config)
    with folder.locked():
        if not paths.is_offline():
            supersede(folder)
        folder.clear()


def check(spec: RunSpec, dataset: Dataset) -> None:
    """Raises HarnessError where a run was planned with other data or code than those here."""
    config = spec.config
    if dataset.fingerprint != config.data_fingerprint:
        raise HarnessError(
            f"The data here ({dataset.name}, {dataset.fingerprint[:12]}, from {dataset.source}) are not those "
            f"of the spec {spec.name} ({config.data}, {config.data_fingerprint[:12]}); set $CIFAR10_DIR to the same."
        )
    if config.source != source_hash(config.engine):
        raise HarnessError(
            f"The code here ({source_hash(config.engine)}) is not the code that planned the spec {spec.name} "
            f"({config.source}): they would not give the same numbers. Use the same commit."
        )


def run_one(
    spec: RunSpec, dataset: Dataset, observer: Observer | None = None, *, wait: bool = False, probe: bool = True
) -> Result:
    """Bring a run to its end from wherever it stands.

    Raises HarnessError where the run was planned with other data or code (`check`), or when another process has it;
    with `wait`, waits for that one instead.
    """
    check(spec, dataset)
    folder = RunFolder(spec.config)
    with folder.locked(wait=wait):
        result = folder.result()
        if result and _is_done(folder):
            return result
        if result and is_sealed(folder):
            tell_mlflow(read_bundle(folder.path), folder, dataset)
            return result
        # Left by an import that was cut off: this run is made here.
        (folder.path / "bundle.json").unlink(missing_ok=True)
        split = images_of(spec.config, dataset)
        engine = open_engine(spec.config, split)
        tags = provenance() | {
            "experiment": spec.experiment,
            "variant": spec.variant,
            "recipe": spec.recipe,
            "phase": spec.phase,
            "seed": str(spec.config.seed),
            "budget": spec.budget,
            "data": spec.config.data,
            "split": spec.config.split,
            "device": engine.device,
            "precision": spec.config.precision,
        }
        record = (
            Bundle(folder, spec, tags, dataset.source)
            if paths.is_offline()
            else Tracker(folder, spec.name, tags, dataset.source)
        )
        with record:
            observers = [observer, record] if observer else [record]
            ended = train(spec.config, engine, split, folder, observers, probe=probe)
            result = dataclasses.replace(ended.result, measured_by=measures_hash(spec.config.engine))
            ended = dataclasses.replace(ended, result=result)
            folder.finish(ended.result, ended.history)
            with record.timed():
                if spec.keeps_model:
                    # Only now: importing matplotlib takes seconds, and training need not wait for it.
                    from harness.reporting.run_figures import draw_run

                    draw_run(folder, spec.name, ended.result, ended.history)
                if ended.result.status == "finished":
                    probabilities = ended.probabilities.astype(np.float16)
                    np.savez_compressed(folder.artifacts / "probabilities.npz", probabilities=probabilities)
            model = engine.export(ended.state) if spec.keeps_model else None
            record.finish(ended.result, ended.history, model, split.eval_images)
        return ended.result
