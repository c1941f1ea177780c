"""An experiment: the question of one file in `experiments/`, its variants, and what was predicted of them."""

import dataclasses
import importlib
import inspect
import itertools
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal

import experiments
from harness.common.errors import BadInput
from harness.config import change
from harness.recipes import RECIPES, named

Direction = Literal["worse", "better", "equivalent"]

BASELINE = "baseline"


@dataclass(frozen=True)
class Prediction:
    """What the accuracy of a variant will be against the baseline's; `by` at least so much (0.02 is two points).

    Written before the run, and scored by it: see `harness.analysis.report.score`.
    """

    variant: str
    direction: Direction
    by: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """The baseline, and variants of it by name, each a mapping from settings to their new values.

    The settings are the fields of `Network` and `Recipe` in harness/config.py. `family` names the variants whose
    comparisons with the baseline count as one family (Holm's correction is over it); None is all of them.
    `seeds` is how many each variant is run with where the command does not say. `mechanism` names the measures
    (harness/metrics.py) that would show the claimed cause at work. `factors` are those of a factorial design.
    """

    variants: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    family: tuple[str, ...] | None = None
    seeds: int = 10
    mechanism: tuple[str, ...] = ()
    factors: dict[str, tuple[str, Any]] = dataclasses.field(default_factory=dict)
    question: str = ""

    @property
    def all_variants(self) -> dict[str, dict[str, Any]]:
        """The baseline first, then the others."""
        return {BASELINE: {}} | self.variants

    @property
    def compared(self) -> tuple[str, ...]:
        """The variants of the family."""
        return tuple(self.variants) if self.family is None else self.family


def factorial(factors: dict[str, tuple[str, Any]], **rest: Any) -> Experiment:
    """Every combination of factors that are each as in the baseline or switched off.

    factors: name -> (setting, its value when the factor is off). A variant is named by what is off in it.
    """
    variants: dict[str, dict[str, Any]] = {}
    for size in range(1, len(factors) + 1):
        for off in itertools.combinations(factors, size):
            variants[factorial_name(off)] = dict(factors[name] for name in off)
    return Experiment(variants=variants, factors=factors, **rest)


def factorial_name(off: tuple[str, ...]) -> str:
    """The variant of a factorial experiment in which these factors are off."""
    return " + ".join(f"no {name}" for name in off) or BASELINE


def names() -> list[str]:
    """The experiments there are: the files of `experiments/`, but for the searches."""
    return [name for name in _files() if not name.startswith("search")]


def search_names() -> list[str]:
    """The searches there are: the files of `experiments/` whose names begin with `search` (harness/search)."""
    return [name for name in _files() if name.startswith("search")]


def _files() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load(name: str) -> Experiment:
    """The experiment that `experiments/<name>.py` declares, its question the first line of the docstring.

    Raises BadInput when there is none such, when it does not import, or when it contradicts itself.
    """
    named("experiment", dict.fromkeys(names()), name)
    experiment, question = declared_in(name, "experiment = Experiment(...)", "baseline.py is the shortest example")
    _check(name, experiment)
    return dataclasses.replace(experiment, question=question)


def declared_in(name: str, declaration: str, example: str) -> tuple[Any, str]:
    """What a file of `experiments/` declares, and the question it asks: the first line of its docstring.

    declaration: what has to stand in it, as in `experiment = Experiment(...)`. Raises BadInput, which says so and names
    an example, for a file that does not import or lacks it.
    """
    try:
        module = importlib.import_module(f"experiments.{name}")
        declared = getattr(module, declaration.partition(" ")[0])
    except Exception as error:
        raise BadInput(
            f"experiments/{name}.py does not import ({type(error).__name__}: {error}). It must define "
            f"`{declaration}`; experiments/{example}."
        ) from error
    return declared, (inspect.getdoc(module) or "").partition("\n")[0]


def _check(name: str, experiment: Experiment) -> None:
    seen: dict[Any, str] = {}
    for variant, changes in experiment.all_variants.items():
        # What is the baseline with one recipe may be a variant with another; harness/jobs.py leaves it out there.
        made = tuple(change(*usual, changes) for usual in RECIPES.values())
        alike = seen.setdefault(made, variant)
        if alike != variant:
            raise BadInput(
                f"experiments/{name}.py declares {variant!r} and {alike!r} alike: each variant must change something "
                f"of its own. Take one of them out."
            )
    named_in = {"family": experiment.family or (), "predictions": [p.variant for p in experiment.predictions]}
    for where, variants in named_in.items():
        for variant in variants:
            if variant not in experiment.variants:
                raise BadInput(
                    f"The {where} of experiments/{name}.py name {variant!r}, which is no variant of it; there are "
                    f"{', '.join(experiment.variants) or 'none'}."
                )
