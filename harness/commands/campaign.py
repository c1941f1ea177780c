"""`harness evidence run`: train what the evidence lacks of the studies, look by look, as their designs call for it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.studies import Study, runs_of
from harness.commands.execution import choose_recorder
from harness.commands.run import Job
from harness.common.errors import BadInput
from harness.common.hardware import cpu_name
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.plan import usual_speed
from harness.reporting.console import log
from harness.runs import evidence
from harness.runs.evidence import EvidenceRun
from harness.runs.spec import RunResult
from harness.tracking.provenance import provenance
from harness.tracking.recorder import Recorder

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
    last = max(len(study.looks) for study in studies.STUDIES)
    for look in range(1, last + 1):
        jobs = [_job(study, look, recorder, known) for study in studies.STUDIES if len(study.looks) >= look]
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


def _job(study: Study, look: int, recorder: Recorder, known: Sequence[EvidenceRun]) -> Job:
    """Return the job that brings a study to a look, and trains no run that the evidence has.

    But a seed's variants are trained on one device, so that their pairs are alike: where some are missing, those that
    the evidence has from another device are trained again, unless that device is known to give the same numbers.
    """
    committed = {each.spec.config.key: each for each in runs_of(study, known)}
    job = Job(study.options, recorder, look, committed)
    missing = {(spec.phase, spec.config.seed) for spec in job.wanted() if spec.config.key not in committed}
    same_weights, here = evidence.same_weights(known), cpu_name()

    def fits(run: RunResult) -> bool:
        """Whether it is as if it were trained here, or the evidence has all runs of its seed."""
        (environment, *_) = run.folder.environments()
        same, both = same_weights.get(frozenset({environment["device"], here}), (0, 1))
        alike = environment["device"] == here or same == both
        return alike or (run.spec.phase, run.spec.config.seed) not in missing

    return Job(study.options, recorder, look, {key: run for key, run in committed.items() if fits(run)})
