"""`harness compare`: the reports again, from what is stored; of experiments, or of any runs."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import experiment
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.commands.run import Job, Request, links
from harness.common.errors import BadInput
from harness.config import RunConfig
from harness.experiment import BASELINE, Experiment
from harness.plan import RunResult, RunSpec
from harness.runs.folder import RunFolder, all_runs

#: What runs must have in common to be compared.
COMMON = ("data", "data_fingerprint", "split", "train_images", "eval_images")


def compare(what: Request, to: Path | None) -> list[Report]:
    """The reports of experiments, or the one of some runs, whose keys then stand in the place of experiments.

    Tables and figures are written to `to`; None is mlruns/reports.
    """
    if all(name in experiment.names() for name in what.experiments):
        reports = Job(what).publish(to)
        if not reports:
            raise BadInput(
                f"Nothing of {', '.join(what.experiments)} is stored at the budget {what.budget}: `harness run "
                f"{what.experiments[0]} --budget {what.budget}` trains it."
            )
        return reports
    from harness.reporting.publish import publish

    compared, outcomes = _of_runs([_run(name) for name in what.experiments])
    return [publish(make_report(compared, outcomes, links=links(outcomes)), outcomes, to)]


def _run(prefix: str) -> RunFolder:
    """The finished run whose key begins so."""
    matching = [run for run in all_runs() if run.config.key.startswith(prefix) and run.result()]
    if len(matching) != 1:
        raise BadInput(
            f"{prefix} fits {len(matching)} finished runs, not one, and is no experiment (there are "
            f"{', '.join(experiment.names())}). `ls mlruns/runs` and the MLflow UI (tag run_key) have the keys."
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
    return ", ".join(f"{name}={value}" for name, value in theirs.items() if value != ours[name])


def _budget(config: RunConfig) -> str:
    return f"{config.train_images:,} images, {config.recipe.epochs} epochs"
