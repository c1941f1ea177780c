"""Write the lists of runs of the campaign: `python -m experiments.gpu.plan FOLDER BUDGET PRECISION`.

    FOLDER/a1.json ...       the lanes, which are trained side by side
          /published.json    with BUDGET full: the notebook's recipe, one seed
          /retuned.txt       with BUDGET quick: the commands that tune learning rates, a line each

BUDGET is `full` for the studies `AGAIN` of experiments/studies.py, `quick` for `QUICK_ON_GPU`. With `smoke` they are
those of $STUDIES (full, or quick) at that size. $SEEDS: other seeds than those declared.

A lane is ordered by seed, so that a lane that is cut off leaves about as many seeds of each of its variants. Whatever
shares a compiled program is in one lane: two processes would compile it twice. The last lane of `full` has the variants
with dropout, which are many and share one program.
"""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from experiments.studies import AGAIN, PUBLISHED, QUICK_ON_GPU
from harness.analysis.studies import Study, declared
from harness.commands import planner, spec_list
from harness.commands.execution import choose_recorder
from harness.engine.backend import import_keras
from harness.experiment import BASELINE
from harness.run_options import RunOptions, seeds_text
from harness.runs.spec import RunSpec

STUDIES = {"full": AGAIN, "quick": QUICK_ON_GPU}
#: Beside those of `full` run the processes of ideas.py and `published`.
LANES = {"full": 7, "quick": 13}


class Planner:
    """Plans runs with one precision, of a budget of its own if it is `smoke`."""

    def __init__(self, budget: str, precision: str) -> None:
        self.budget, self.precision, self.recorder = budget, precision, choose_recorder(None)

    def options(self, study: Study, **others: Any) -> RunOptions:
        """Return what `harness run` is asked for the runs of a study."""
        budget = "smoke" if self.budget == "smoke" else study.budget
        seeds = os.environ.get("SEEDS") or seeds_text(list(study.seeds))
        given = {"budget": budget, "seeds": seeds, "precision": self.precision}
        return dataclasses.replace(study.options, **(given | others))

    def runs(self, study: Study) -> list[RunSpec]:
        """Return the runs of a study that are not done here, of its tuning as far as they are known beforehand."""
        return planner.Planner(self.options(study), self.recorder).planned()

    def retuning(self, study: Study) -> list[str]:
        """Return a command for each variant that tunes it and the baseline, and trains both at their best rates."""
        variants = [variant for variant in declared(study).all_variants if variant != BASELINE]
        return [self.options(study, variants=(variant,)).command for variant in variants]


def divided(specs: list[RunSpec], count: int, *, dropout_apart: bool) -> list[list[RunSpec]]:
    """Return the runs by lane, each lane by seed."""
    import_keras("jax")
    from harness.engine.state import Structure, structure_of

    programs: dict[Structure, list[RunSpec]] = {}
    for spec in specs:
        programs.setdefault(structure_of(spec.config, dropout_everywhere=True), []).append(spec)
    lanes: list[list[RunSpec]] = [[] for _ in range(count)]
    others = lanes[:-1] if dropout_apart else lanes
    # The baseline has many runs: no lane gets more of one program than it has time for.
    most = -(-len(specs) // count)
    for structure, share in sorted(programs.items(), key=lambda item: -len(item[1])):
        if dropout_apart and any(structure.recipe.dropout):
            lanes[-1] += share
        else:
            for start in range(0, len(share), most):
                min(others, key=len).extend(share[start : start + most])

    def order(spec: RunSpec) -> tuple[int, str, str]:
        config = spec.config
        return config.seed, repr(structure_of(config)), repr(config.network)

    return [sorted(lane, key=order) for lane in lanes]


def main() -> None:
    """Write the lists. An old list is deleted if nothing of it is left to train."""
    folder, budget, precision = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    what = os.environ.get("STUDIES", "full") if budget == "smoke" else budget
    planner = Planner(budget, precision)
    planned = [spec for study in STUDIES[what] for spec in planner.runs(study)]
    distinct = {spec.config.key: spec for spec in reversed(planned)}
    lanes = divided(list(distinct.values()), LANES[what], dropout_apart=what == "full")
    lists = {f"a{place}": lane for place, lane in enumerate(lanes, start=1)}
    if what == "full":
        lists["published"] = planner.runs(PUBLISHED)
    for old in (*folder.glob("*.json"), folder / "retuned.txt"):
        old.unlink(missing_ok=True)
    for name, specs in lists.items():
        if specs:
            spec_list.write(folder / f"{name}.json", specs)
        print(f"{name}: {len(specs)} runs of {len({spec.config.network for spec in specs})} networks")
    if commands := [line for study in STUDIES[what] if study.retuned for line in planner.retuning(study)]:
        (folder / "retuned.txt").write_text("".join(f"{line}\n" for line in commands))
        print(f"retuned: {len(commands)} commands")


if __name__ == "__main__":
    main()
