"""The search space: which settings of a recipe are sampled, from which distribution, and under which condition."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from harness.common.errors import BadInput
from harness.config import Network, Recipe, change
from harness.recipes import FAST


@dataclass(frozen=True)
class Case:
    """The distribution of a setting that depends on the value of an earlier setting of the space, `on`.

    If a value has no distribution, the setting keeps the baseline's value.
    """

    on: str
    distributions: Mapping[Any, BaseDistribution]


#: Setting -> its distribution, or a tuple of distributions for a setting that is a tuple (`dropout`).
Space = Mapping[str, BaseDistribution | Case | tuple[BaseDistribution, ...]]


def sample(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """Sample a value for each setting of a space; return them as changes to the baseline's recipe."""
    changes: dict[str, Any] = {}
    for setting in space:
        drawn = [_suggest(trial, name, each) for name, each in _parameters(space, setting, changes)]
        if drawn:
            changes[setting] = tuple(drawn) if isinstance(space[setting], tuple) else drawn[0]
    return changes


def parameters_of(space: Space, recipe: Recipe) -> dict[str, Any]:
    """Return the Optuna parameters with which `sample` would draw this recipe.

    Raises BadInput if a value of the recipe is outside its distribution.
    """
    chosen = {setting: getattr(recipe, setting) for setting in space}
    found = {}
    for setting, value in chosen.items():
        values = value if isinstance(space[setting], tuple) else [value]
        # Not strict: a `Case` without a distribution for this value has no parameter.
        for (name, distribution), each in zip(_parameters(space, setting, chosen), values, strict=False):
            if not _holds(distribution, each):
                raise BadInput(
                    f"The search space does not hold the baseline: its {setting} is {each}, outside {distribution}. "
                    f"Widen the space, as a search must know what it has to beat."
                )
            found[name] = each
    return found


def describe(space: Space) -> dict[str, str]:
    """Return every parameter that a trial may have, with its distribution in Optuna's JSON format."""
    described: dict[str, str] = {}
    for setting, spec in space.items():
        cases = [{spec.on: value} for value in spec.distributions] if isinstance(spec, Case) else [{}]
        for case in cases:
            described |= {name: distribution_to_json(each) for name, each in _parameters(space, setting, case)}
    return described


def faults(space: Space) -> Iterator[str]:
    """Yield what is wrong with a space, in words; nothing for a valid space."""
    seen: list[str] = []
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    for setting, spec in space.items():
        if setting not in fields:
            yield f"a recipe has no setting {setting!r}; there are {', '.join(fields)}"
        elif isinstance(spec, tuple) != (setting == "dropout") or (isinstance(spec, tuple) and len(spec) != 4):
            yield "dropout is four distributions, one for each block and one for the dense layer; no other setting is"
        elif isinstance(spec, Case) and spec.on not in seen:
            yield f"{setting} depends on {spec.on!r}, which does not stand before it"
        else:
            yield from _invalid_values(setting, spec)
        seen.append(setting)


def _invalid_values(setting: str, spec: BaseDistribution | Case | tuple[BaseDistribution, ...]) -> Iterator[str]:
    """Yield why a setting refuses a choice or a bound of its distributions."""
    distributions = (
        spec if isinstance(spec, tuple) else spec.distributions.values() if isinstance(spec, Case) else [spec]
    )
    for each in distributions:
        reached = each.choices if isinstance(each, CategoricalDistribution) else (each.low, each.high)  # type: ignore[attr-defined]
        for value in reached:
            try:
                change(Network(), FAST, {setting: (value,) * len(spec) if isinstance(spec, tuple) else value})
            except BadInput as error:
                yield str(error).rstrip(".")


def _parameters(space: Space, setting: str, chosen: Mapping[str, Any]) -> Iterator[tuple[str, BaseDistribution]]:
    """Yield the name and distribution of each parameter of a setting, given the values of the earlier settings."""
    spec = space[setting]
    if isinstance(spec, tuple):
        yield from ((f"{setting} {number}", each) for number, each in enumerate(spec, start=1))
    elif isinstance(spec, Case):
        value = chosen[spec.on]
        if value in spec.distributions:
            # Each case has its own name, because an Optuna parameter has one distribution in the whole study.
            yield f"{setting} ({value})", spec.distributions[value]
    else:
        yield setting, spec


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"{name}: {type(distribution).__name__} is no distribution that a trial can draw from")


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low <= value <= distribution.high
