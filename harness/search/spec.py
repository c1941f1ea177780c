"""A search as its file in `experiments/` declares it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import optuna

from harness.common.errors import BadInput
from harness.config import Network, Recipe, change
from harness.experiment import declared_in, has_file, search_names
from harness.recipes import named, rate_for_batch
from harness.search.space import Space, faults

SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "random": optuna.samplers.RandomSampler,
    # Parameters of one case are modelled together, apart from those of another.
    "tpe": lambda: optuna.samplers.TPESampler(group=True),
}

#: Of the trials at a rung, halving lets one in so many go on.
REDUCTION = 3

PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5),
}


def step_of(rung: int) -> int:
    """The step under which a rung (from 0) is reported to Optuna: what halving takes for its rung of that number."""
    return REDUCTION**rung


@dataclass(frozen=True)
class Search:
    """What is searched and how: by validation accuracy on the `tune` split, never on the test images.

    space: the settings that are sampled, at the scale of the full budget; smaller budgets shrink a sampled
    recipe's batch by the factor that shrinks the baseline's. `rungs` are the shares of the epochs at which a trial may
    be given up; each rung is a whole short run, its schedule annealed, as a schedule cut in the middle ranks recipes
    wrongly. `sampler` and `pruner` are names in harness/search/declared.py.
    """

    space: Space
    rungs: tuple[float, ...] = (1.0,)
    sampler: str = "tpe"
    pruner: str = "none"
    question: str = ""

    def changes_at(self, base: Recipe, shrunk: Recipe, sampled: dict[str, object]) -> dict[str, object]:
        """A sampled recipe at the budget that shrinks the baseline's recipe `base` to `shrunk`, as changes to that.

        The learning rate goes with the batch size as in `Budget.shrink`, by the sampled optimizer's rule.
        """
        _, whole = change(Network(), base, sampled)
        batch_size = max(2, round(whole.batch_size * shrunk.batch_size / base.batch_size))
        rate = rate_for_batch(whole.optimizer, whole.learning_rate, whole.batch_size, batch_size)
        return {**sampled, "batch_size": batch_size, "learning_rate": rate}

    def rungs_of(self, epochs: int) -> list[int]:
        """The epochs of each rung, the last one all of them; without a pruner there is no use for others."""
        if self.pruner == "none":
            return [epochs]
        return sorted({max(1, round(share * epochs)) for share in self.rungs} | {epochs})


def load(name: str, sampler: str | None = None, pruner: str | None = None) -> Search:
    """The search that `experiments/<name>.py` declares, its question the first line of the docstring.

    sampler, pruner: instead of those in the file. Raises BadInput when there is none such, when it does not import, or
    when it contradicts itself.
    """
    if not has_file(name):
        named("search", dict.fromkeys(search_names()), name)
    declared, question = declared_in(name, "search = Search(...)", "search.py is the example")
    search = replace(declared, sampler=sampler or declared.sampler, pruner=pruner or declared.pruner, question=question)
    named("sampler", SAMPLERS, search.sampler)
    named("pruner", PRUNERS, search.pruner)
    for fault in faults(search.space):
        raise BadInput(f"The space of experiments/{name}.py is invalid: {fault}.")
    if not all(0 < share <= 1 for share in search.rungs):
        raise BadInput(f"The rungs of experiments/{name}.py are shares of the epochs, above 0 and at most 1.")
    return search
