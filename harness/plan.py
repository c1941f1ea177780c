"""From an experiment to its specs: which runs answer it, and which of them are done."""

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from harness.common.errors import BadInput
from harness.config import Network, Precision, Recipe, RunConfig, SplitName, change, from_json
from harness.data import Dataset, Split, split, subset
from harness.experiment import Experiment
from harness.recipes import BUDGETS, recipe_called
from harness.runs.folder import History, Result, RunFolder, all_runs
from harness.source_hash import source_hash

#: A variant is run under the baseline's recipe, and again with a learning rate of its own, tuned first; a search
#: (harness/search) runs recipes that it samples.
Phase = Literal["same recipe", "tuning", "retuned", "search"]

#: The learning rates tried for every variant, as factors on the recipe's own. One grid and one seed for all.
TUNING_FACTORS = (1 / 9, 1 / 3, 1.0, 3.0, 9.0)
#: A seed number given where their count is meant would ask for so many runs.
MOST_SEEDS = 1000
#: No result has this seed, so the choice of a learning rate is not judged by the runs that made it.
TUNING_SEED = 1000


@dataclass(frozen=True)
class Settings:
    """How an experiment is run, whatever it asks: the options of `harness run`."""

    budget: str = "full"
    recipe: str = "fast"
    split: SplitName = "final"
    engine: str = "tensorflow"
    precision: Precision = "float32"
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSpec:
    """One run of one variant: what it is (`config`), and the names it goes by; `changes` are those of `--set`.

    `factor` is on the learning rate of the recipe.
    """

    experiment: str
    variant: str
    budget: str
    recipe: str
    phase: Phase
    config: RunConfig
    changes: str = ""
    factor: float = 1.0

    @property
    def name(self) -> str:
        """As it appears in tables and in MLflow."""
        usual = {"full", "final"}
        unusual = [word for word in (self.budget, self.config.split) if word not in usual]
        rate = [] if self.phase == "same recipe" else [f"rate {self.config.recipe.learning_rate:.3g}"]
        # The rungs of a trial differ in nothing else.
        rate += [f"{self.config.recipe.epochs} epochs"] if self.phase == "search" else []
        variant = ", ".join(filter(None, [self.variant, self.changes]))
        return " ".join([variant, self.recipe, *rate, *unusual, f"seed {self.config.seed}"])

    @property
    def keeps_model(self) -> bool:
        """Whether figures and the model of this one run are kept: of small runs by the hundred nobody wants them."""
        return self.experiment == "baseline" or self.budget == "full"

    @property
    def cost(self) -> int:
        """Training images the run goes through."""
        return self.config.train_images * self.config.recipe.epochs

    def to_json(self) -> str:
        """Text that `run_spec_from_json` reads."""
        return json.dumps({**vars(self), "config": json.loads(self.config.to_json())}, sort_keys=True)


@dataclass(frozen=True)
class RunResult:
    """A run that is over: what it was (`spec`), where it is kept, how it ended, and its rows, one an epoch."""

    spec: RunSpec
    folder: RunFolder
    result: Result
    history: History


def run_spec_from_json(text: str) -> RunSpec:
    """The inverse of `RunSpec.to_json`."""
    values = json.loads(text)
    return RunSpec(**values | {"config": from_json(json.dumps(values["config"]))})


def run_specs(
    name: str, experiment: Experiment, dataset: Dataset, settings: Settings, seeds: list[int]
) -> list[RunSpec]:
    """Every variant with every seed, under the one recipe."""
    return [
        run_spec(name, variant, changes, dataset, settings, seed, "same recipe")
        for variant, changes in experiment.all_variants.items()
        for seed in seeds
    ]


def tuning_specs(name: str, experiment: Experiment, dataset: Dataset, settings: Settings) -> list[RunSpec]:
    """Every variant with every learning rate of the grid, judged on the validation images."""
    settings = dataclasses.replace(settings, split="tune")
    return [
        run_spec(name, variant, changes, dataset, settings, TUNING_SEED, "tuning", factor)
        for variant, changes in experiment.all_variants.items()
        for factor in TUNING_FACTORS
    ]


def retuned_specs(
    name: str,
    experiment: Experiment,
    factors: dict[str, float],
    dataset: Dataset,
    settings: Settings,
    seeds: list[int],
) -> list[RunSpec]:
    """Every variant with every seed, at the factor on the learning rate that suited it best."""
    return [
        run_spec(name, variant, changes, dataset, settings, seed, "retuned", factors[variant])
        for variant, changes in experiment.all_variants.items()
        for seed in seeds
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
    """One variant with one seed. Raises BadInput where its batch is larger than the budget's images."""
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
    made = vars(network) | vars(recipe)
    # From what was understood, not as it was typed: 5e-2 and 0.05 are one setting, and go by one name.
    changed = ", ".join(f"{key}={_value_text(made[key])}" for key in settings.changes)
    return RunSpec(name, variant, settings.budget, settings.recipe, phase, config, changed, factor)


def _value_text(value: Any) -> str:
    """A setting's value as `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(_value_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def shrunk_recipe(dataset: Dataset, settings: Settings) -> tuple[Network, Recipe]:
    """The settings' recipe as their budget shrinks it, before any change, with the network it trains."""
    network, whole = recipe_called(settings.recipe)
    return network, BUDGETS[settings.budget].shrink(whole, _sizes(dataset, settings)[0])


def _sizes(dataset: Dataset, settings: Settings) -> tuple[int, int]:
    size, whole = BUDGETS[settings.budget], _whole(dataset, settings.split)
    train, judged = len(whole.train_images), len(whole.eval_images)
    return min(size.train_images or train, train), min(size.eval_images or judged, judged)


def images_of(config: RunConfig, dataset: Dataset) -> Split:
    """The images that a run trains on and is judged by."""
    return _subset(dataset, config.split, config.train_images, config.eval_images)


@lru_cache(maxsize=2)
def _whole(dataset: Dataset, name: str) -> Split:
    return split(dataset, name)


@lru_cache(maxsize=2)
def _subset(dataset: Dataset, name: str, train_images: int, eval_images: int) -> Split:
    return subset(_whole(dataset, name), train_images, eval_images)


def stale(planned: list[RunSpec]) -> int:
    """How many of the finished runs here are these runs, made by older code; they are counted, and never used."""

    def without_source(config: RunConfig) -> RunConfig:
        return dataclasses.replace(config, source="")

    wanted = {without_source(spec.config).key: spec.config.source for spec in planned}
    found = (run.config for run in all_runs() if run.result())
    return sum(wanted.get(without_source(config).key, config.source) != config.source for config in found)


def usual_speed(planned: list[RunSpec]) -> float | None:
    """Training images a second, all that a run takes included, of the runs of these budgets that ended here."""
    budgets = {(spec.config.train_images, spec.config.eval_images, spec.config.engine) for spec in planned}
    speeds = []
    for run in all_runs():
        config, result = run.config, run.result()
        same = (config.train_images, config.eval_images, config.engine) in budgets
        if same and result and result.status == "finished":
            speeds.append(config.train_images * config.recipe.epochs / result.metrics["training_seconds"])
    return statistics.median(speeds) if speeds else None


def seeds_text(seeds: list[int]) -> str:
    """What `parse_seeds` reads as these seeds."""
    # With a comma, a single number is the seed itself and not how many.
    return str(len(seeds)) if seeds == list(range(len(seeds))) else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


def parse_seeds(text: str) -> list[int]:
    """`3` is the seeds 0, 1, 2; `0,4,7` is those three. Raises BadInput for anything else, doubles included."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadInput(f"--seeds {text} does not fit: give how many (--seeds 10) or which (--seeds 0,4,7).")
    seeds = [int(part) for part in parts]
    if "," not in text:
        if not 1 <= seeds[0] <= MOST_SEEDS:
            raise BadInput(f"--seeds {text} does not fit: give 1 to {MOST_SEEDS}, or which (--seeds {text},).")
        return list(range(seeds[0]))
    doubles = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if doubles:
        raise BadInput(f"--seeds {text} has {doubles[0]} twice; a seed counts once, so give each once.")
    return seeds
