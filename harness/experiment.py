"""An experiment: the question of one file in `experiments/`, and the cells that answer it."""

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import Any

import experiments
from harness import recipes
from harness.config import Network, Precision, RunConfig, SplitName, change, source_hash
from harness.data import Dataset, Split, split, subset
from harness.errors import BadInput
from harness.recipes import BUDGETS, RECIPES


@dataclass(frozen=True)
class Experiment:
    """Variants by name, each a mapping from settings (of `Network` and `Recipe`) to their new values."""

    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: {"baseline": {}})


@dataclass(frozen=True)
class Cell:
    """One run of one variant: what it is (`config`), and the names it goes by."""

    experiment: str
    variant: str
    budget: str
    recipe: str
    config: RunConfig

    @property
    def name(self) -> str:
        """As it appears in tables and in MLflow."""
        usual = {"full", "final"}
        unusual = [word for word in (self.budget, self.config.split) if word not in usual]
        return " ".join([self.variant, self.recipe, *unusual, f"seed {self.config.seed}"])


def names() -> list[str]:
    """The experiments there are: the files of `experiments/`."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load(name: str) -> Experiment:
    """The experiment that `experiments/<name>.py` declares. Raises BadInput when there is none such."""
    recipes.named("experiment", dict.fromkeys(names()), name)
    try:
        experiment = importlib.import_module(f"experiments.{name}").experiment
    except Exception as error:
        raise BadInput(
            f"experiments/{name}.py does not import ({type(error).__name__}: {error}). It must define "
            f"`experiment = Experiment(...)`; experiments/baseline.py is the shortest example."
        ) from error
    return experiment


def cells(
    name: str,
    dataset: Dataset,
    *,
    budget: str,
    recipe: str,
    seeds: list[int],
    split_name: SplitName,
    engine: str,
    precision: Precision,
    changes: dict[str, Any],
) -> list[tuple[Cell, Split]]:
    """Every (variant, seed) of an experiment with the images it trains and is judged on."""
    size = BUDGETS[budget]
    whole = split(dataset, split_name)
    part = subset(whole, size.train_images or len(whole.train_images), size.eval_images or len(whole.eval_images))
    planned = []
    for variant, own_changes in load(name).variants.items():
        base = size.shrink(RECIPES[recipe], len(part.train_images))
        network, resolved = change(Network(), base, {**own_changes, **changes})
        if resolved.batch_size > len(part.train_images):
            raise BadInput(
                f"batch_size={resolved.batch_size} is more than the {len(part.train_images)} training images of "
                f"--budget {budget}; choose a smaller batch or a larger budget."
            )
        label = ", ".join([variant, *(f"{name}={value}" for name, value in changes.items())])
        for seed in seeds:
            config = RunConfig(
                network=network,
                recipe=resolved,
                seed=seed,
                split=split_name,
                data=dataset.name,
                data_fingerprint=dataset.fingerprint,
                train_images=len(part.train_images),
                eval_images=len(part.eval_images),
                engine=engine,
                precision=precision,
                source=source_hash(engine),
            )
            planned.append((Cell(name, label, budget, recipe, config), part))
    return planned


def parse_seeds(text: str) -> list[int]:
    """`3` is the seeds 0, 1, 2; `0,4,7` is those three. Raises BadInput for anything else, doubles included."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadInput(f"--seeds {text} does not fit: give how many (--seeds 10) or which (--seeds 0,4,7).")
    seeds = [int(part) for part in parts]
    if "," not in text:
        if seeds[0] < 1:
            raise BadInput("--seeds 0 asks for no run at all; give at least 1.")
        return list(range(seeds[0]))
    doubles = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if doubles:
        raise BadInput(f"--seeds {text} has {doubles[0]} twice; a seed counts once, so give each once.")
    return seeds
