"""An experiment: the question of one file in `experiments/`, its variants, and what was predicted of them."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import keyword
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import experiments
from harness.common.errors import BadInput
from harness.config import Network, Recipe, change
from harness.metrics import INSIDE
from harness.recipes import RECIPES, named

Direction = Literal["worse", "better", "equivalent", "stuck"]

BASELINE = "baseline"

#: After how many seeds the runs of an experiment are looked at; what is decided then gets no further seeds.
LOOKS = (4, 7, 10)


@dataclass(frozen=True)
class Prediction:
    """How a variant's accuracy will compare with the baseline's: worse, better or equivalent, and by how much at least.

    `by` is in accuracy: 0.02 is two points. `equivalent` has no `by`: it means within half a point. `stuck` has none
    either: every run diverges or ends at the accuracy of a guess. `recipe`: the one that the prediction is made for;
    "" is every recipe for which the experiment has none of its own. A prediction is written before the run and scored
    after it, by `harness.analysis.target.score`.
    """

    variant: str
    direction: Direction
    by: float = 0.0
    recipe: str = ""


@dataclass(frozen=True)
class Experiment:
    """A question, as variants of the baseline: each has a name, and the settings that it changes with their new values.

    The settings are the fields of `Network` and `Recipe` in harness/config.py. The comparisons of all variants with the
    baseline are corrected together for multiple testing (Holm). `looks` are the numbers of seeds after which a variant
    may stop, if the command does not say how many seeds there are. `mechanism` names the measures (`INSIDE` in
    harness/metrics.py) that would show the claimed cause at work. `factors` are those of a factorial design: by name,
    the setting and its value when the factor is off. `question` is the first line of the file's docstring.
    """

    variants: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    looks: tuple[int, ...] = LOOKS
    mechanism: tuple[str, ...] = ()
    factors: dict[str, tuple[str, Any]] = dataclasses.field(default_factory=dict)
    question: str = ""

    @property
    def all_variants(self) -> dict[str, dict[str, Any]]:
        """The baseline first, then the others."""
        return {BASELINE: {}} | self.variants

    def under(self, recipe: str) -> "Experiment":
        """This experiment with what was predicted for a recipe."""
        own = tuple(each for each in self.predictions if each.recipe == recipe)
        return dataclasses.replace(self, predictions=own or tuple(each for each in self.predictions if not each.recipe))

    def only(self, variants: Collection[str]) -> "Experiment":
        """This experiment with these of its variants. Without some of them it is no longer a factorial one."""
        if set(variants) == set(self.variants):
            return self
        return dataclasses.replace(
            self,
            variants={name: self.variants[name] for name in variants},
            predictions=tuple(each for each in self.predictions if each.variant in variants),
            factors={},
        )


def distinct(
    variants: Mapping[str, Mapping[str, Any]], network: Network, recipe: Recipe, shared: Mapping[str, Any]
) -> dict[tuple[Network, Recipe], str]:
    """Return variants by what they are under a network and recipe, to which all of them make the `shared` changes too.

    Of those that are alike the first stands for all.
    """
    found: dict[tuple[Network, Recipe], str] = {}
    for name, changes in variants.items():
        found.setdefault(change(network, recipe, {**changes, **shared}), name)
    return found


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
    """The experiments there are: the files of `experiments/` that declare one."""
    return list(questions())


def questions() -> dict[str, str]:
    """The experiments there are, each with the question it asks."""
    return _declaring("experiment")


def search_names() -> list[str]:
    """The searches there are: the files of `experiments/` that declare one (harness/search)."""
    return list(_declaring("search"))


def has_file(name: str) -> bool:
    """Whether `experiments/` has a file of that name, whatever is in it."""
    return name.isidentifier() and (_folder() / f"{name}.py").is_file()


def _folder() -> Path:
    return Path(experiments.__path__[0])


def _declaring(word: str) -> dict[str, str]:
    """The files of `experiments/` that assign this word, each with the first line of its docstring.

    They are read and not imported: a file that cannot be imported must not keep the others from being listed, and a
    helper that several experiments import is no experiment.
    """
    found = {}
    for file in sorted(_folder().glob("*.py")):
        try:
            module = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        if file.stem.isidentifier() and any(word in _assigned(statement) for statement in module.body):
            found[file.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module assigns."""
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target] if statement.value else []
    else:
        targets = statement.targets if isinstance(statement, ast.Assign) else []  # type: ignore[assignment]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def load(name: str) -> Experiment:
    """The experiment that `experiments/<name>.py` declares, its question the first line of the docstring.

    Raises BadInput when there is none such, when it does not import, or when it contradicts itself.
    """
    if not has_file(name):
        named("experiment", dict.fromkeys(names()), name)
    experiment, question = declared_in(name, "experiment = Experiment(...)", "baseline.py is the shortest example")
    _check(name, experiment)
    return dataclasses.replace(experiment, question=question)


def declared_in(name: str, declaration: str, example: str) -> tuple[Any, str]:
    """What a file of `experiments/` declares, and the question it asks: the first line of its docstring.

    declaration: what has to stand in it, as in `experiment = Experiment(...)`. Raises BadInput, which says so and names
    an example, for a file that does not import or lacks it.
    """
    word = declaration.partition(" ")[0]
    try:
        module = importlib.import_module(f"experiments.{name}")
    except Exception as error:
        raise BadInput(
            f"experiments/{name}.py does not import ({type(error).__name__}: {error}). It must define "
            f"`{declaration}`; experiments/{example}."
        ) from error
    if not hasattr(module, word):
        raise BadInput(
            f"experiments/{name}.py declares no {word}: it must define `{declaration}`; experiments/{example}."
        )
    return getattr(module, word), (inspect.getdoc(module) or "").partition("\n")[0]


def docstring(name: str) -> str:
    """The docstring of `experiments/<name>.py`; empty where there is no such file, or none in it."""
    if not has_file(name):
        return ""
    try:
        return ast.get_docstring(ast.parse((_folder() / f"{name}.py").read_bytes())) or ""
    except (SyntaxError, ValueError):
        return ""


def _check(name: str, experiment: Experiment) -> None:
    seen: dict[Any, str] = {}
    for variant, changes in experiment.all_variants.items():
        # What equals the baseline under one recipe may be a variant under another: where it does, the planner
        # (harness/commands/planner.py) leaves it out.
        try:
            made = tuple(change(*usual, changes) for usual in RECIPES.values())
        except BadInput as error:
            raise BadInput(f"The variant {variant!r} of experiments/{name}.py: {error}") from error
        alike = seen.setdefault(made, variant)
        if alike != variant:
            raise BadInput(
                f"experiments/{name}.py declares {variant!r} and {alike!r} alike: each variant must change something "
                f"of its own. Take one of them out."
            )
    for measure in experiment.mechanism:
        if measure not in INSIDE:
            raise BadInput(
                f"The mechanism of experiments/{name}.py names {measure!r}, which is no measure; there are "
                f"{', '.join(INSIDE)}."
            )
    for prediction in experiment.predictions:
        if prediction.variant not in experiment.variants:
            raise BadInput(
                f"The predictions of experiments/{name}.py name {prediction.variant!r}, which is no variant of it; "
                f"there are {', '.join(experiment.variants) or 'none'}."
            )
        if prediction.recipe:
            named(f"recipe (a prediction of experiments/{name}.py)", RECIPES, prediction.recipe)
        if prediction.by < 0 or (prediction.direction in ("equivalent", "stuck") and prediction.by):
            raise BadInput(
                f"The prediction of {prediction.variant!r} in experiments/{name}.py has by={prediction.by:g}. That is "
                f"the least size of a difference: 0 or more, and none for `equivalent`, which is within half a point, "
                f"and for `stuck`."
            )


SKELETON = '''"""{question}?

The notebook: "..."

Prediction, written before the run: ... by at least ... points, because ...

    harness run {name} --budget quick
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    # Settings are the fields of Network and Recipe in harness/config.py; the baseline is there by itself.
    variants={{"no norm": {{"normalization": "none"}}}},
    predictions=(Prediction("no norm", "worse", by=0.05),),
    # What would show the claimed cause at work: harness/metrics.py has the measures.
    mechanism=("gradient_ratio",),
)
'''


def write_skeleton(name: str) -> Path:
    """Write experiments/<name>.py, an experiment to be filled in, and return its path.

    Raises BadInput when the name cannot be used or is taken.
    """
    file = _folder() / f"{name}.py"
    if not name.isidentifier() or keyword.iskeyword(name):
        raise BadInput(f"{name} is no Python name: letters, digits and underscores will do, as in ablate_initializer.")
    question = f"What does {name.removeprefix('ablate_').replace('_', ' ')} do"
    try:
        with file.open("x", encoding="utf-8") as skeleton:
            skeleton.write(SKELETON.format(question=question, name=name))
    except FileExistsError:
        raise BadInput(f"{file} is there already; choose another name, or edit it.") from None
    return file
