"""`harness evidence run`: train what is missing of the studies, look by look and seed by seed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.studies import Study
from harness.commands.execution import choose_recorder
from harness.commands.run import Job, RunOptions
from harness.common.lazy import lazy_import
from harness.reporting.console import log

if TYPE_CHECKING:
    from experiments import studies
else:
    studies = lazy_import("experiments.studies")

#: The lowest priority: whatever else runs goes first.
NICENESS = 19


def blocks(planned: tuple[Study, ...]) -> Iterator[tuple[Study, int]]:
    """Yield the studies with their seeds in the order of training: all studies to the first look, then to the next."""
    for look in range(max(len(study.looks) for study in planned)):
        for study in planned:
            for start, end in list(zip((0, *study.looks), study.looks, strict=False))[look : look + 1]:
                yield from ((study, seed) for seed in study.seeds[start:end])


def train(to: Path) -> None:
    """Train all runs of the studies that are not finished in the folder `to`, as bundles."""
    os.nice(NICENESS - os.nice(0))
    recorder = choose_recorder(to)
    planned = list(blocks(studies.STUDIES))
    for done, (study, seed) in enumerate(planned):
        log.print(f"block {done + 1} of {len(planned)}: {study.name}, seed {seed}")
        options = RunOptions(
            experiments=(study.experiment,),
            budget=study.budget,
            recipe=study.recipe,
            seeds=f"{seed},",
            variants=study.variants,
            engine=study.engine,
            precision=study.precision,
            changes=study.changes,
            retune=False,
        )
        Job(options, recorder).train()
