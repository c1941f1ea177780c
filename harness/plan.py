"""From an experiment to its run specs: which runs answer its question."""

import dataclasses
import statistics
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from harness.common.errors import BadInput
from harness.config import (
    Network,
    Precision,
    Recipe,
    RunConfig,
    SplitName,
    change,
    changes_text,
    parse_changes,
)
from harness.data import Dataset, Split, split, subset
from harness.experiment import Experiment
from harness.recipes import budget_called, recipe_called
from harness.runs.folder import all_runs
from harness.runs.spec import Phase, RunSpec
from harness.source_hash import source_hash


@dataclass(frozen=True)
class Settings:
    """How the runs of an experiment are made: the options of `harness run` that all its variants share.

    `changes` are those of `--set`; here they have the types of the settings, whatever was given.
    """

    budget: str = "full"
    recipe: str = "fast"
    split: SplitName = "final"
    engine: str = "tensorflow"
    precision: Precision = "float32"
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", parse_changes(self.changes))


def run_specs(
    name: str, experiment: Experiment, dataset: Dataset, settings: Settings, seeds: list[int]
) -> list[RunSpec]:
    """The runs of every seed with every variant, all under the same recipe.

    The runs of a seed stand together, so that they are trained on one machine: they are compared with each other.
    """
    return [
        run_spec(name, variant, changes, dataset, settings, seed, "same recipe")
        for seed in seeds
        for variant, changes in experiment.all_variants.items()
    ]


def tuning_spec(
    name: str, variant: str, changes: dict[str, Any], dataset: Dataset, settings: Settings, factor: float, seed: int
) -> RunSpec:
    """A run that tunes a variant, judged on the validation images: with a factor on the recipe's learning rate."""
    return run_spec(
        name, variant, changes, dataset, dataclasses.replace(settings, split="tune"), seed, "tuning", factor
    )


def retuned_specs(
    name: str,
    experiment: Experiment,
    factors: dict[str, float],
    dataset: Dataset,
    settings: Settings,
    seeds: list[int],
) -> list[RunSpec]:
    """The runs of every seed with every variant, each variant at its own best learning rate.

    factors: for every variant, what the recipe's learning rate is multiplied by.
    """
    return [
        run_spec(name, variant, changes, dataset, settings, seed, "retuned", factors[variant])
        for seed in seeds
        for variant, changes in experiment.all_variants.items()
    ]


def run_spec(
    name: str,
    variant: str,
    variant_changes: dict[str, Any],
    dataset: Dataset,
    settings: Settings,
    seed: int,
    phase: Phase,
    factor: float = 1.0,
) -> RunSpec:
    """The run of one variant with one seed. factor: on the recipe's learning rate.

    Raises BadInput if its batch is larger than the budget's images.
    """
    images = _sizes(dataset, settings)
    network, recipe = change(*shrunk_recipe(dataset, settings), {**variant_changes, **settings.changes})
    if recipe.batch_size > images[0]:
        raise BadInput(
            f"batch_size={recipe.batch_size} is more than the {images[0]} training images of "
            f"--budget {settings.budget}; choose a smaller batch or a larger budget."
        )
    config = RunConfig(
        network=network,
        recipe=dataclasses.replace(recipe, learning_rate=recipe.learning_rate * factor),
        seed=seed,
        split=settings.split,
        data=dataset.name,
        data_fingerprint=dataset.fingerprint,
        train_images=images[0],
        eval_images=images[1],
        engine=settings.engine,
        precision=settings.precision,
        source=source_hash(settings.engine),
    )
    changed = changes_text(settings.changes)
    return RunSpec(name, variant, settings.budget, settings.recipe, phase, config, changed, factor)


def shrunk_recipe(dataset: Dataset, settings: Settings) -> tuple[Network, Recipe]:
    """The network and the recipe of the settings, shrunk to their budget, before `--set` changes them."""
    network, whole = recipe_called(settings.recipe)
    return network, budget_called(settings.budget).shrink(whole, _sizes(dataset, settings)[0])


def _sizes(dataset: Dataset, settings: Settings) -> tuple[int, int]:
    size, whole = budget_called(settings.budget), _whole(dataset, settings.split)
    there = len(dataset.train_images)
    if ":" in settings.budget and (size.train_images or 0) > there:
        raise BadInput(f"Invalid value --budget {settings.budget}: {dataset.name} has {there:,} training images.")
    train, judged = len(whole.train_images), len(whole.eval_images)
    return min(size.train_images or train, train), min(size.eval_images or judged, judged)


def images_of(config: RunConfig, dataset: Dataset) -> Split:
    """The images that a run trains on and is judged by: with fewer than all, its seed draws the training images."""
    everything = config.train_images >= len(_whole(dataset, config.split).train_labels)
    seed = None if everything else config.seed
    return _subset(dataset, config.split, config.train_images, config.eval_images, seed)


@lru_cache(maxsize=2)
def _whole(dataset: Dataset, name: str) -> Split:
    return split(dataset, name)


@lru_cache(maxsize=2)
def _subset(dataset: Dataset, name: str, train_images: int, eval_images: int, seed: int | None) -> Split:
    return subset(_whole(dataset, name), train_images, eval_images, seed)


def stale(planned: list[RunSpec]) -> int:
    """How many of the planned runs were finished here by an older version of the code.

    Such results are kept, but never mixed with those of the present code.
    """

    def without_source(config: RunConfig) -> RunConfig:
        return dataclasses.replace(config, source="")

    wanted = {without_source(spec.config).key: spec.config.source for spec in planned}
    found = (run.config for run in all_runs() if run.result())
    return sum(wanted.get(without_source(config).key, config.source) != config.source for config in found)


def usual_speed(planned: list[RunSpec]) -> float | None:
    """Training images a second, by the runs of the same size and engine that have finished on this machine.

    The median; None if there is no such run.
    """
    budgets = {(spec.config.train_images, spec.config.eval_images, spec.config.engine) for spec in planned}
    speeds = []
    for run in all_runs():
        config, result = run.config, run.result()
        same = (config.train_images, config.eval_images, config.engine) in budgets
        if same and result and result.status == "finished":
            speeds.append(config.train_images * config.recipe.epochs / result.metrics["training_seconds"])
    return statistics.median(speeds) if speeds else None
