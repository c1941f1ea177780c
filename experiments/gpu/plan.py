"""Write the lists of runs of the campaign: `python -m experiments.gpu.plan FOLDER BUDGET PRECISION`.

    FOLDER/fast.json         the baseline, seeds 0 to FAST - 1 (10), on the test images
          /a1.json ...       ablations, every variant with the same recipe: the lanes, which are trained side by side
          /published.json    the notebook's recipe, one seed

A lane is ordered by blocks of seeds ($BLOCKS), so that a lane that is cut off leaves about as many seeds of each of its
variants. Whatever shares a compiled program is in one lane: two processes would compile it twice. The last lane has the
variants with dropout, which are many and share one program.
"""

import os
import sys
from pathlib import Path
from typing import Any

from harness.commands import spec_list
from harness.commands.execution import choose_recorder
from harness.commands.run import Job, RunOptions
from harness.engine.backend import import_keras
from harness.runs.spec import RunSpec

BLOCKS = "0 1 2 3,4 5,6 7,8,9"
ABLATIONS = ("ablate_bn", "ablate_order", "ablate_scaling", "ablate_activation", "factorial", "ablate_dropout")
#: Without an activation, max-pooling is what is not linear: with average pooling the network is.
LINEAR: dict[str, Any] = {"pooling": "average"}
LANES = 4


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


def divided(specs: list[RunSpec], blocks: list[list[int]]) -> list[list[RunSpec]]:
    """Return the runs by lane, each lane in the order of its blocks of seeds."""
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
    block_of = {seed: place for place, seeds in enumerate(blocks) for seed in seeds}

    def order(spec: RunSpec) -> tuple[int, str, str, int]:
        config = spec.config
        return block_of[config.seed], repr(config.network), repr(config.recipe.dropout), config.seed

    return [sorted(lane, key=order) for lane in lanes]


def main() -> None:
    """Write the lists. An old list is deleted if nothing of it is left to train."""
    folder, budget, precision = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    planner = Planner(budget, precision)
    blocks = [[int(seed) for seed in block.split(",")] for block in os.environ.get("BLOCKS", BLOCKS).split()]
    seeds = ",".join(str(seed) for block in blocks for seed in block) + ","
    ablations = [
        *planner.runs(*ABLATIONS, seeds=seeds),
        *planner.runs("ablate_activation", seeds=seeds, variants=("linear",), changes=LINEAR),
    ]
    distinct = {spec.config.key: spec for spec in reversed(ablations)}
    lists = {f"a{place}": lane for place, lane in enumerate(divided(list(distinct.values()), blocks), start=1)}
    lists["fast"] = planner.runs("baseline", seeds=os.environ.get("FAST", "10"))
    lists["published"] = planner.runs("baseline", seeds="1", recipe="published")
    for old in folder.glob("*.json"):
        old.unlink()
    for name, specs in lists.items():
        if specs:
            spec_list.write(folder / f"{name}.json", specs)
        print(f"{name}: {len(specs)} runs of {len({spec.config.network for spec in specs})} networks")


if __name__ == "__main__":
    main()
