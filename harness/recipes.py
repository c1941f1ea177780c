"""The named recipes, and the budgets that shrink them."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from harness.config import Recipe
from harness.errors import BadInput

T = TypeVar("T")

#: `fast`: chosen on the tune split alone; README.md has the table of what was tried.
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

#: `published`: what the notebook's curve implies. Its optimizer, batch size and initialisation are unknown.
PUBLISHED = Recipe(
    epochs=200,
    batch_size=256,
    optimizer="adam",
    learning_rate=0.001,
    schedule="constant",
    normalization_momentum=0.99,
)

RECIPES = {"fast": FAST, "published": PUBLISHED}


#: Fewer steps an epoch than this, and a schedule jumps where it should glide: few images get smaller batches.
FEWEST_STEPS = 32


@dataclass(frozen=True)
class Budget:
    """How much of the data and of the recipe's epochs a run gets; None is all of it."""

    meaning: str
    epochs: int | None = None
    train_images: int | None = None
    eval_images: int | None = None

    def shrink(self, recipe: Recipe, train_images: int) -> Recipe:
        """The recipe for this many training images; its schedule is annealed over the epochs that are left.

        The learning rate shrinks with the batch size (Goyal et al. 2017).
        """
        batch_size = min(recipe.batch_size, max(train_images // FEWEST_STEPS, 2))
        return dataclasses.replace(
            recipe,
            epochs=min(recipe.epochs, self.epochs or recipe.epochs),
            batch_size=batch_size,
            learning_rate=recipe.learning_rate * batch_size / recipe.batch_size,
        )


BUDGETS = {
    "smoke": Budget("seconds: does it work at all", epochs=3, train_images=512, eval_images=200),
    "quick": Budget("minutes on 2 cores", epochs=6, train_images=10_000, eval_images=2_000),
    "full": Budget("the whole data set and recipe"),
}


def named(what: str, table: Mapping[str, T], name: str) -> T:
    """The entry of a table; BadInput with the nearest names when there is none."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3) or list(table)
    raise BadInput(f"There is no {what} called {name!r}; did you mean {' or '.join(near)}?")
