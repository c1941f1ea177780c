"""The named recipes, and the budgets that shrink them."""

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.common.documents import read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.paths import PROJECT
from harness.config import Network, Optimizer, Recipe, change

T = TypeVar("T")

#: What `harness search --confirm --save` writes.
SAVED = PROJECT / "experiments" / "recipes"

#: `fast`: chosen on the tune split alone; docs/recipes.md has the table of what was tried.
FAST = Recipe(
    epochs=8,
    batch_size=128,
    optimizer="muon",
    learning_rate=0.04,
    schedule="one-cycle",
    warmup=0.25,
    momentum=0.9,
    weight_decay=0.02,
    label_smoothing=0.1,
    dropout=(0.0, 0.0, 0.0, 0.0),
    flip=True,
    shift=2,
)

#: `classic`: the same training without Muon, whose steps hide how large the gradients are. Rate and decay were tuned on
#: the tune split (docs/recipes.md).
CLASSIC = dataclasses.replace(FAST, optimizer="sgd", learning_rate=0.1, weight_decay=0.005)

#: `published`: what the curve of the notebook implies. Its optimizer, batch size, rate and the order of activation and
#: normalization are unknown; these follow its first 30 epochs, flat start included (docs/recipes.md says how closely).
PUBLISHED = Recipe(
    epochs=200,
    batch_size=128,
    optimizer="adam",
    learning_rate=0.001,
    schedule="constant",
    normalization_momentum=0.99,
)

#: Each with the network that it trains.
RECIPES = {
    "fast": (Network(), FAST),
    "classic": (Network(), CLASSIC),
    "published": (Network(normalization_place="after"), PUBLISHED),
}


@dataclass(frozen=True)
class Saved:
    """The content of a file of a saved recipe. origin: where it comes from."""

    network: dict[str, Any]
    recipe: dict[str, Any]
    origin: dict[str, Any] = field(default_factory=dict)


def recipe_called(name: str) -> tuple[Network, Recipe]:
    """The recipe of that name, with the network it trains: one of those above, or one that a search has saved.

    Raises BadInput for an unknown name or an unreadable file.
    """
    known: dict[str, tuple[Network, Recipe] | Path] = {file.stem: file for file in SAVED.glob("[!.]*.json")}
    found = named("recipe", known | RECIPES, name)
    return _read(found) if isinstance(found, Path) else found


def new_name(name: str) -> str:
    """The name, if a recipe may be saved under it; else raises BadInput."""
    if not name.isidentifier() or name in RECIPES or (SAVED / f"{name}.json").exists():
        raise BadInput(f"{name!r} cannot name a new recipe: take letters, digits and underscores, and no name in use.")
    return name


def save(name: str, network: Network, recipe: Recipe, origin: dict[str, Any]) -> Path:
    """Keep a recipe under a new name, with where it comes from; the file is meant to be committed."""
    file = SAVED / f"{new_name(name)}.json"
    kept = {"network": dataclasses.asdict(network), "recipe": dataclasses.asdict(recipe), "origin": origin}
    write_atomically(file, json.dumps(kept, indent=1).encode())
    return file


def _read(file: Path) -> tuple[Network, Recipe]:
    try:
        kept: Saved = read_json(file, Saved)
        return change(Network(), FAST, {**kept.network, **kept.recipe})
    except (OSError, ValueError, BadInput) as error:
        raise BadInput(f"{file} holds no recipe ({error}): mend it, or delete it and save it again.") from error


def rate_for_batch(optimizer: Optimizer, rate: float, from_batch: int, to_batch: int) -> float:
    """The learning rate at one batch size that does what `rate` does at another.

    SGD's goes with the batch size (Goyal et al. 2017, "Accurate, large minibatch SGD"). Steps of Muon and Adam are as
    long whatever the size of the gradient, and theirs goes with the square root (Malladi et al. 2022, "On the SDEs and
    scaling rules for adaptive gradient algorithms").
    """
    if optimizer == "sgd":
        return rate * to_batch / from_batch
    return rate * math.sqrt(to_batch / from_batch)


@dataclass(frozen=True)
class Budget:
    """How much of the data and of the recipe's epochs a run gets; None is all of it.

    `most_seeds` is for experiments whose seeds the command leaves open.
    Fewer than `fewest_steps` in an epoch, and a schedule jumps where it should glide: few images get smaller batches.
    """

    epochs: int | None = None
    train_images: int | None = None
    eval_images: int | None = None
    fewest_steps: int = 32
    most_seeds: int | None = None

    def shrink(self, recipe: Recipe, train_images: int) -> Recipe:
        """The recipe for this many training images; its schedule is annealed over the epochs that are left.

        The learning rate shrinks with the batch size, as the optimizer asks for.
        """
        batch_size = min(recipe.batch_size, max(train_images // self.fewest_steps, 2))
        return dataclasses.replace(
            recipe,
            epochs=min(recipe.epochs, self.epochs or recipe.epochs),
            batch_size=batch_size,
            learning_rate=rate_for_batch(recipe.optimizer, recipe.learning_rate, recipe.batch_size, batch_size),
        )


BUDGETS = {
    # Seconds: does it work at all?
    "smoke": Budget(epochs=3, train_images=128, eval_images=100, fewest_steps=8, most_seeds=1),
    # A minute or two: the least at which the questions have answers.
    "quick": Budget(epochs=8, train_images=5_000),
    "full": Budget(),
}


def budget_called(name: str) -> Budget:
    """The budget of that name: one of BUDGETS, or `quick:500`, which is that one with so many training images.

    Raises BadInput for another name, or for fewer images than classes.
    """
    size, colon, images = name.partition(":")
    budget = named("budget", BUDGETS, size)
    if not colon:
        return budget
    if not images.isdecimal() or int(images) < 20:
        raise BadInput(f"Invalid value --budget {name}: give a number of training images, at least 20: {size}:500.")
    return dataclasses.replace(budget, train_images=int(images))


def named(what: str, table: Mapping[str, T], name: str) -> T:
    """The entry of a table; BadInput with the nearest names when there is none."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3) or list(table)
    hint = f"; did you mean {' or '.join(near)}?" if near else ": there is none yet."
    raise BadInput(f"There is no {what} called {name!r}{hint}")
