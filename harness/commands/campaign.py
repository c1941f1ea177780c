"""`harness evidence run`: train what is missing of the studies, look by look and seed by seed."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.studies import Study, images_of, variants_of
from harness.commands.execution import choose_recorder
from harness.commands.run import Job, RunOptions
from harness.common.lazy import lazy_import
from harness.reporting.console import log
from harness.runs.folder import all_runs

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


def left(planned: Iterable[tuple[Study, int]]) -> tuple[int, float]:
    """Return how many runs of some blocks are not done, and the hours that they take at the mean time of those done.

    Studies share runs, above all those of the baseline: each counts once. The runs of tuning are not counted, nor are
    those at the rates that it will choose.
    """
    wanted = {(*what, images_of(study), seed) for study, seed in planned for what in variants_of(study)}
    ended = [(folder.config, folder.result()) for folder in all_runs()]
    done = {
        (config.network, config.recipe, config.train_images, config.seed): result.metrics.get("training_seconds", 0.0)
        for config, result in ended
        if result and config.split == "final"
    }
    return len(wanted - done.keys()), len(wanted - done.keys()) * sum(done.values()) / max(1, len(done)) / 3600


def train(to: Path) -> None:
    """Train all runs of the studies that are not finished in the folder `to`, as bundles."""
    os.nice(NICENESS - os.nice(0))
    recorder = choose_recorder(to)
    planned = list(blocks(studies.STUDIES))
    for done, (study, seed) in enumerate(planned):
        runs, hours = left(planned[done:])
        pace = f", about {hours:.1f} hours at the pace so far" if hours else ""
        log.print(f"block {done + 1} of {len(planned)}: {study.name}, seed {seed}; {runs} runs left{pace}")
        options = RunOptions(
            experiments=(study.experiment,),
            budget=study.budget,
            recipe=study.recipe,
            seeds=f"{seed},",
            variants=study.variants,
            engine=study.engine,
            precision=study.precision,
            changes=study.changes,
            retune=study.retuned,
        )
        Job(options, recorder).train()
