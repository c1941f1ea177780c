"""`harness compare`: make the reports of experiments, or of any runs, again from the stored results."""

import dataclasses
import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness import experiment
from harness.analysis.design import fixed
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.analysis.studies import Study, report_of, runs_of
from harness.commands.execution import links
from harness.commands.planner import design_of
from harness.commands.run import Job
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.config import RunConfig, parse_changes, value_text
from harness.data import NotFound
from harness.experiment import BASELINE, Experiment
from harness.reporting.console import log
from harness.run_options import RunOptions
from harness.runs import evidence
from harness.runs.folder import RunFolder, all_runs
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.recorder import Recorder

if TYPE_CHECKING:
    from experiments import studies
    from harness.reporting import publish
else:
    studies = lazy_import("experiments.studies")
    # matplotlib is slow to import.
    publish = lazy_import("harness.reporting.publish")

Reported = tuple[Report, list[RunResult]]

#: The settings that runs must share to be comparable.
COMMON = ("data", "data_fingerprint", "split", "train_images", "eval_images")


def compare(what: RunOptions, recorder: Recorder, to: Path | None) -> list[Report]:
    """Return the reports of experiments, or one report of some runs, given by their run keys in `what.experiments`.

    to: the folder for tables and figures; None is mlruns/reports. Raises BadInput if nothing is stored.
    """
    if all(experiment.has_file(name) for name in what.experiments):
        return _trained_here(what, recorder, to) or _committed(what, to) or _nothing(Job(what, recorder))
    others = [name for name in what.experiments if not experiment.has_file(name)]
    if len(others) < len(what.experiments):
        mixed = next(name for name in what.experiments if name not in others)
        raise BadInput(f"{mixed} is an experiment, and {others[0]} is none: name experiments or run keys.")
    # A run that is named twice is one run.
    named = {run.config.key: run for run in map(_run, what.experiments)}
    compared, results = _of_runs(list(named.values()))
    # Whoever names runs has seen them.
    design = fixed(sorted({each.spec.config.seed for each in results}), exploratory=True)
    return [publish.publish(make_report(compared, results, design, links=links(results, recorder)), results, to)]


def _trained_here(what: RunOptions, recorder: Recorder, to: Path | None) -> list[Report]:
    """Return the reports of experiments from the runs in `mlruns/`; none where nothing is compared in them."""
    if not all_runs():
        return []
    try:
        job = Job(what, recorder)
    except NotFound:
        # The committed evidence may answer, without images.
        return []
    reported = job.published(to)
    told = _told(job, reported)
    for report, _ in reported:
        if report.experiment not in [each.experiment for each, _ in told]:
            log.print(f"Of {report.experiment} only the baseline was trained here.")
    return [report for report, _ in told]


def _told(job: Job, reported: Sequence[Reported]) -> list[Reported]:
    """Return the reports that compare something. All experiments share the baseline's runs."""
    return [
        (report, done)
        for report, done in reported
        if len(report.variants) > 1 or not job.experiments[report.experiment].variants
    ]


def _nothing(job: Job) -> NoReturn:
    """Raise BadInput: nothing is stored that would answer."""
    what = job.options
    raise BadInput(
        f"Nothing of {', '.join(what.experiments)} is stored at the budget {what.budget}: `{what.command}` trains it."
    )


def _committed(what: RunOptions, to: Path | None) -> list[Report]:
    """Return the reports of experiments from the committed evidence, as far as it has just that, and say so.

    A study by the engine that was asked for comes before one by another.
    """
    known, reports = evidence.read(), []
    declared = sorted((*studies.DECLARED, *studies.RECIPES), key=lambda study: study.engine != what.engine)
    for name in what.experiments:
        for study in declared:
            results = runs_of(study, known) if is_asked_for(study, name, what) else []
            if results:
                devices = ", ".join(sorted({each.folder.tags["device"] for each in results}))
                report, folder = report_of(study, results), publish.folder_for(to, f"evidence-{study.name}")
                missing = f"; {report.missing} that its design calls for are not in it" if report.missing else ""
                log.print(
                    f"Nothing of {name} was trained here. This is from the {len(results)} runs in the committed "
                    f"evidence ({study.engine}, {study.precision}, {devices}){missing}."
                )
                publish.write_report(report, results, folder)
                reports.append(dataclasses.replace(report, folder=str(folder)))
                break
    return reports


def is_asked_for(study: Study, name: str, what: RunOptions) -> bool:
    """Whether a study is what the options ask of an experiment. Its data and split are those it declared.

    Where neither seeds nor looks are asked for, any design will do.
    """
    any_design = (what.seeds, what.looks) == (None, None)
    return (
        (study.experiment, study.budget, study.recipe) == (name, what.budget, what.recipe)
        and (study.variants, study.changes) == (tuple(what.variants), parse_changes(what.changes))
        and (what.split, what.data) == ("final", None)
        and (any_design or design_of(experiment.load(name), what) == study.design)
        and what.precision in ("auto", study.precision)
        and bool(what.retune) == study.retuned
    )


def one_page(what: RunOptions, recorder: Recorder, to: Path | None) -> Path:
    """Make the reports of experiments again, and one page of them all; return that page.

    to: the folder for the page and the folders of the reports; None is mlruns/reports. Raises BadInput if nothing is
    stored.
    """
    job = Job(what, recorder)
    reported = job.published(to)
    if not reported:
        _nothing(job)
    told = _told(job, reported)
    if not told:
        raise BadInput(f"Only runs of the baseline are stored: `{what.command}` trains what it is compared with.")
    return publish.publish_all(told, to, job.dataset)


def _run(prefix: str) -> RunFolder:
    """Return the finished run whose key begins with `prefix`. Raises BadInput unless there is exactly one."""
    matching = [run for run in all_runs() if prefix and run.config.key.startswith(prefix) and run.result()]
    if len(matching) != 1:
        near = difflib.get_close_matches(prefix, experiment.names(), n=1)
        raise BadInput(
            f"{prefix!r} is no experiment{f' (did you mean {near[0]}?)' if near else ''}, and the start of "
            f"{len(matching)} keys of finished runs, not of one: `harness runs` lists the runs; experiments are "
            f"{', '.join(experiment.names())}."
        )
    return matching[0]


def _of_runs(runs: Sequence[RunFolder]) -> tuple[Experiment, list[RunResult]]:
    """Turn runs into an experiment and its results. Raises BadInput if the runs are not comparable.

    Runs that differ only in their seed are one variant. The variant of the first run is the baseline.
    """
    first = runs[0].config
    for run in runs:
        for name in COMMON:
            one, other = getattr(first, name), getattr(run.config, name)
            if one != other:
                raise BadInput(
                    f"Runs {first.key} and {run.config.key} differ in {name} ({one} and {other}): their results would "
                    f"not mean the same. Compare runs that have it in common."
                )
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(_difference(first, run.config) or BASELINE, set()).add(run.config.seed)
    for name, own in seeds.items():
        if not own & seeds[BASELINE]:
            ours, theirs = (", ".join(map(str, sorted(each))) for each in (own, seeds[BASELINE]))
            raise BadInput(
                f"The runs of {name} have the seeds {ours}, those they are compared with {theirs}: differences are "
                f"taken seed by seed. Train a seed of both."
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
    """Return the settings of `other` that differ from those of `one`, as text, without the seed."""
    ours, theirs = one.flat(), dataclasses.replace(other, seed=one.seed).flat()
    return ", ".join(f"{name}={value_text(value)}" for name, value in theirs.items() if value != ours[name])


def _budget(config: RunConfig) -> str:
    return f"{config.train_images:,} images, {config.recipe.epochs} epochs"
