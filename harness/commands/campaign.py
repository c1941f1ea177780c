"""`harness evidence run`: train what the evidence lacks of the studies, look by look, as their designs call for it."""

import os
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.studies import runs_of
from harness.commands.execution import choose_recorder
from harness.commands.run import Job
from harness.common.errors import BadInput
from harness.common.hardware import cpu_name
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.plan import usual_speed
from harness.reporting.console import log
from harness.runs import evidence
from harness.runs.spec import RunResult
from harness.tracking.provenance import provenance

if TYPE_CHECKING:
    from experiments import studies
else:
    studies = lazy_import("experiments.studies")

#: The lowest priority: whatever else runs goes first.
NICENESS = 19


def left(jobs: list[Job]) -> str:
    """Return what some jobs still have to train to their next look, and how long that takes at the usual speed.

    Studies share runs, above all those of the baseline: each counts once. Not counted are the runs that a tuning calls
    for when others of it are done, and those at the rates that it chooses.
    """
    wanted = {spec.config.key: spec for job in jobs for spec in job.planned()}
    speed = usual_speed(list(wanted.values()))
    hours = f", about {sum(spec.cost for spec in wanted.values()) / speed / 3600:.1f} hours" if speed else ""
    return f"{len(wanted)} runs{hours}"


def train(to: Path) -> None:
    """Train all runs of the studies that are neither in the committed evidence nor finished in the folder `to`.

    They become bundles there. All studies come to their first look, then to the next one. Raises BadInput where they
    would be no evidence: if the folder has another design of a study, or the code is in no commit.
    """
    if provenance().get("git_dirty") != "false":
        raise BadInput(
            f"The code in {PROJECT} is in no commit (`git status` shows what is not): its runs would be no evidence. "
            f"Commit first, or train in a clean clone."
        )
    os.nice(NICENESS - os.nice(0))
    recorder, known = choose_recorder(to), evidence.read()
    here = cpu_name()
    same_numbers = {pair for pair, (same, both) in evidence.same_weights(known).items() if same == both}
    alike = {here}.union(*(pair for pair in same_numbers if here in pair))
    last = max(len(study.looks) for study in studies.STUDIES)
    for look in range(1, last + 1):
        looked_at = [study for study in studies.STUDIES if len(study.looks) >= look]
        jobs = [Job(study.options, recorder, look) for study in looked_at]
        for study, job in zip(looked_at, jobs, strict=True):
            if job.dataset.name != study.data:
                raise BadInput(
                    f"The evidence is of {study.data}, and here is {job.dataset.name} ({job.dataset.source}): no study "
                    f"would count its runs. Set $CIFAR10_DIR to {study.data}."
                )
            _count_in(job, runs_of(study, known), alike)
        for job in jobs:
            if any(design.exploratory for design in job.designs.values()):
                raise BadInput(
                    f"{to} has another design of `{job.options.command}` (in designs/): its runs would be "
                    f"exploratory, and no evidence. Give another folder, --to."
                )
        for done, job in enumerate(jobs):
            # To count what is left reads every file of all runs: only where hours of training follow.
            if job.planned():
                log.print(
                    f"Look {look} of {last}, left in it: {left(jobs[done:])}, or more. Now: {job.options.command}"
                )
                job.train()


def _count_in(job: Job, committed: Sequence[RunResult], alike: Set[str]) -> None:
    """Let a study's runs in the evidence count as done.

    But a seed's variants are trained on one device, so that their pairs are alike: where some are missing, the others
    count only if they are of a device that gives the same numbers as this one.
    """
    known = job.elsewhere = {each.spec.config.key: each for each in committed}
    missing = {(spec.phase, spec.config.seed) for spec in job.wanted() if spec.config.key not in known}
    job.elsewhere = {
        key: run
        for key, run in known.items()
        if (run.spec.phase, run.spec.config.seed) not in missing or run.folder.environments()[0]["device"] in alike
    }
