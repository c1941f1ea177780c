"""The specification of a search, as declared in a file of `experiments/`."""

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
    # With `group`, parameters of the same case are modelled together, and separately from those of other cases.
    "tpe": lambda: optuna.samplers.TPESampler(group=True),
}

#: Successive halving promotes one in this many trials of a rung.
REDUCTION = 3

PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5),
}


def step_of(rung: int) -> int:
    """Return the step at which a rung (from 0) is reported to Optuna, so that halving's rungs are the same ones."""
    return REDUCTION**rung


@dataclass(frozen=True)
class Search:
    """What is searched and how. Recipes are judged by validation accuracy on the `tune` split, never on test images.

    space: the sampled settings, at the scale of the full budget; a smaller budget shrinks a sampled recipe's batch size
    by the same factor as the baseline's. rungs: the fractions of the epochs after which a trial may be pruned. Each
    rung is a complete short run with its own annealed schedule, because a schedule that is cut off half-way ranks
    recipes wrongly. sampler, pruner: names in `SAMPLERS` and `PRUNERS`.
    """

    space: Space
    rungs: tuple[float, ...] = (1.0,)
    sampler: str = "tpe"
    pruner: str = "none"
    question: str = ""

    def changes_at(self, base: Recipe, shrunk: Recipe, sampled: dict[str, object]) -> dict[str, object]:
        """Return a sampled recipe at a smaller budget, as changes to `shrunk`.

        base, shrunk: the baseline's recipe at the full budget and at this budget. The learning rate is scaled with the
        batch size as in `Budget.shrink`, by the rule for the sampled optimizer.
        """
        _, whole = change(Network(), base, sampled)
        batch_size = max(2, round(whole.batch_size * shrunk.batch_size / base.batch_size))
        rate = rate_for_batch(whole.optimizer, whole.learning_rate, whole.batch_size, batch_size)
        return {**sampled, "batch_size": batch_size, "learning_rate": rate}

    def rungs_of(self, epochs: int) -> list[int]:
        """Return the epochs of each rung; the last rung has all `epochs`. Without a pruner it is the only one."""
        if self.pruner == "none":
            return [epochs]
        return sorted({max(1, round(share * epochs)) for share in self.rungs} | {epochs})


def load(name: str, sampler: str | None = None, pruner: str | None = None) -> Search:
    """Return the search that `experiments/<name>.py` declares. Its question is the first line of the file's docstring.

    sampler, pruner: replace those of the file. Raises BadInput if there is no such search, if the file cannot be
    imported, or if the search is invalid.
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
