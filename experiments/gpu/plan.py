"""Write the lists of runs of the campaign: `python -m experiments.gpu.plan FOLDER BUDGET PRECISION`.

    FOLDER/a1.json ...       the studies `AGAIN` of experiments/studies.py: the lanes, which are trained side by side
          /published.json    the notebook's recipe, one seed

A lane is ordered by seed, so that a lane that is cut off leaves about as many seeds of each of its variants. Whatever
shares a compiled program is in one lane: two processes would compile it twice. The last lane has the variants with
dropout, which are many and share one program.
"""

import os
import sys
from pathlib import Path
from typing import Any

from experiments.studies import AGAIN
from harness.commands import spec_list
from harness.commands.execution import choose_recorder
from harness.commands.run import Job, RunOptions
from harness.engine.backend import import_keras
from harness.plan import seeds_text
from harness.runs.spec import RunSpec

LANES = 7


class Planner:
    """Plans runs with one budget and precision."""

    def __init__(self, budget: str, precision: str) -> None:
        self.budget, self.precision, self.recorder = budget, precision, choose_recorder(None)

    def runs(self, *experiments: str, seeds: str, **options: Any) -> list[RunSpec]:
        """Return the runs of experiments that are not done here."""
        asked = RunOptions(
            experiments=experiments,
            budget=self.budget,
            precision=self.precision,
            seeds=seeds,
            engine="jax",
            retune=False,
            **options,
        )
        return Job(asked, self.recorder).planned()


def divided(specs: list[RunSpec]) -> list[list[RunSpec]]:
    """Return the runs by lane, each lane by seed."""
    import_keras("jax")
    from harness.engine.state import Structure, structure_of

    programs: dict[Structure, list[RunSpec]] = {}
    for spec in specs:
        programs.setdefault(structure_of(spec.config, dropout_everywhere=True), []).append(spec)
    lanes: list[list[RunSpec]] = [[] for _ in range(LANES)]
    for structure, share in sorted(programs.items(), key=lambda item: -len(item[1])):
        if any(structure.recipe.dropout):
            lanes[-1] += share
        else:
            min(lanes[:-1], key=len).extend(share)

    def order(spec: RunSpec) -> tuple[int, str, str]:
        config = spec.config
        return config.seed, repr(structure_of(config)), repr(config.network)

    return [sorted(lane, key=order) for lane in lanes]


def main() -> None:
    """Write the lists. An old list is deleted if nothing of it is left to train."""
    folder, budget, precision = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    planner = Planner(budget, precision)
    seeds = os.environ.get("SEEDS")
    declared = [
        planner.runs(
            study.experiment,
            seeds=seeds or seeds_text(list(study.seeds)),
            recipe=study.recipe,
            variants=study.variants,
            changes=study.changes,
        )
        for study in AGAIN
    ]
    distinct = {spec.config.key: spec for specs in reversed(declared) for spec in reversed(specs)}
    lists = {f"a{place}": lane for place, lane in enumerate(divided(list(distinct.values())), start=1)}
    lists["published"] = planner.runs("baseline", seeds="1", recipe="published")
    for old in folder.glob("*.json"):
        old.unlink()
    for name, specs in lists.items():
        if specs:
            spec_list.write(folder / f"{name}.json", specs)
        print(f"{name}: {len(specs)} runs of {len({spec.config.network for spec in specs})} networks")


if __name__ == "__main__":
    main()
