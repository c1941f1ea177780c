"""`harness compare`: the reports again, from what is stored; of experiments, or of any runs."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import experiment
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.commands.execution import links
from harness.commands.run import Job, RunOptions
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.config import RunConfig, value_text
from harness.experiment import BASELINE, Experiment
from harness.runs.folder import RunFolder, all_runs
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.recorder import Recorder

if TYPE_CHECKING:
    from harness.reporting import publish
else:
    # matplotlib takes seconds to import.
    publish = lazy_import("harness.reporting.publish")

#: What runs must have in common to be compared.
COMMON = ("data", "data_fingerprint", "split", "train_images", "eval_images")


def compare(what: RunOptions, recorder: Recorder, to: Path | None) -> list[Report]:
    """The reports of experiments, or the one of some runs, whose keys then stand in the place of experiments.

    Tables and figures are written to `to`; None is mlruns/reports.
    """
    if all(experiment.has_file(name) for name in what.experiments):
        reports = Job(what, recorder).publish(to)
        if not reports:
            raise BadInput(
                f"Nothing of {', '.join(what.experiments)} is stored at the budget {what.budget}: `{what.command}` "
                f"trains it."
            )
        return reports
    compared, results = _of_runs([_run(name) for name in what.experiments])
    return [publish.publish(make_report(compared, results, links=links(results, recorder)), results, to)]


def _run(prefix: str) -> RunFolder:
    """The finished run whose key begins so."""
    matching = [run for run in all_runs() if run.config.key.startswith(prefix) and run.result()]
    if len(matching) != 1:
        raise BadInput(
            f"{prefix} is the start of {len(matching)} keys of finished runs, not of one, and is no experiment (there "
            f"are {', '.join(experiment.names())}). `ls mlruns/runs` and the MLflow UI (tag run_key) have the keys."
        )
    return matching[0]


def _of_runs(runs: Sequence[RunFolder]) -> tuple[Experiment, list[RunResult]]:
    """Some runs as an experiment: those that differ in their seed alone are a variant, the first one's the baseline."""
    first = runs[0].config
    for run in runs:
        for name in COMMON:
            one, other = getattr(first, name), getattr(run.config, name)
            if one != other:
                raise BadInput(
                    f"Runs {first.key} and {run.config.key} differ in {name} ({one} and {other}): their results would "
                    f"not mean the same. Compare runs that have it in common."
                )
    digest = hashlib.sha256(" ".join(sorted(run.config.key for run in runs)).encode()).hexdigest()[:8]
    variants: dict[str, dict[str, Any]] = {}
    outcomes = []
    for run in runs:
        result = run.result()
        assert result
        name = _difference(first, run.config) or BASELINE
        if name != BASELINE:
            variants[name] = {}
        spec = RunSpec(f"compare {digest}", name, _budget(run.config), "", "same recipe", run.config)
        outcomes.append(RunResult(spec, run, result, run.history()))
    return Experiment(variants=variants, question=f"What sets {len(runs)} runs apart?"), outcomes


def _difference(one: RunConfig, other: RunConfig) -> str:
    """The settings in which a run differs from another, its seed left out."""
    ours, theirs = one.flat(), dataclasses.replace(other, seed=one.seed).flat()
    return ", ".join(f"{name}={value_text(value)}" for name, value in theirs.items() if value != ours[name])


def _budget(config: RunConfig) -> str:
    return f"{config.train_images:,} images, {config.recipe.epochs} epochs"
