"""The run spec (a planned run) and the run result (a run that has ended)."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from harness.common.documents import parse
from harness.config import RunConfig, read_changes
from harness.experiment import BASELINE
from harness.runs.records import History, Result

#: What a run is for. Every variant is trained with the baseline's recipe ("same recipe"). Then its learning rate is
#: tuned ("tuning"), and it is trained again with the best one ("retuned"). A search (harness/search) samples recipes.
Phase = Literal["same recipe", "tuning", "retuned", "search"]


@dataclass(frozen=True)
class RunSpec:
    """One run of one variant: its configuration (`config`) and its names.

    `changes` are the changes of `--set`, as `changes_text` writes them. `factor` multiplies the recipe's learning rate.
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
        """The name of the run in tables and in MLflow."""
        variant = ", ".join(filter(None, [self.variant, self.changes]))
        return " ".join([variant, self.recipe, *self._rate("rate "), *self._unusual, f"seed {self.config.seed}"])

    @property
    def label(self) -> str:
        """The name of the run in a list that cuts off its end: what sets it apart comes first."""
        words = [self.variant, self.changes, *self._rate(), f"s{self.config.seed}", self.recipe, *self._unusual]
        return " · ".join(filter(None, words))

    @property
    def _unusual(self) -> list[str]:
        return [word for word in (self.budget, self.config.split) if word not in ("full", "final")]

    def _rate(self, named: str = "") -> list[str]:
        """What tells the runs of a tuning or a search apart."""
        recipe = self.config.recipe
        rate = [] if self.phase == "same recipe" else [f"{named}{recipe.learning_rate:.3g}"]
        # The runs of a trial, one per rung, differ only in their epochs.
        return rate + ([f"{recipe.epochs} epochs"] if self.phase == "search" else [])

    @property
    def command(self) -> str:
        """The command that trains the run, or shows its result where that is done; "" for one run of a search."""
        if self.phase == "search":
            return ""
        words = ["harness", "run", self.experiment, "--budget", self.budget, "--recipe", self.recipe]
        words += ["--variant", self.variant] if self.variant != BASELINE else []
        words += [] if self.phase == "tuning" else ["--seeds", f"{self.config.seed},", "--split", self.config.split]
        words += ["--engine", self.config.engine, "--precision", self.config.precision]
        words += [word for change in read_changes(self.changes).items() for word in ("--set", "=".join(change))]
        return shlex.join(words)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that describe the run in its record (MLflow or a bundle)."""
        return {
            "experiment": self.experiment,
            "variant": self.variant,
            "recipe": self.recipe,
            "phase": self.phase,
            "seed": str(self.config.seed),
            "budget": self.budget,
            "data": self.config.data,
            "split": self.config.split,
            "precision": self.config.precision,
        }

    @property
    def keeps_model(self) -> bool:
        """Whether the figures and the model of this run are kept."""
        return keeps_model(self.experiment, self.budget)

    @property
    def is_compared(self) -> bool:
        """Whether reports compare this run with others. Runs of a tuning or a search only choose a recipe."""
        return self.phase not in ("tuning", "search")

    @property
    def cost(self) -> int:
        """The number of training images the run processes: images per epoch times epochs."""
        return self.config.train_images * self.config.recipe.epochs

    def to_json(self) -> str:
        """Return the spec as JSON text, which `run_spec_from_json` reads."""
        return json.dumps({**vars(self), "config": json.loads(self.config.to_json())}, sort_keys=True)


class Stored(Protocol):
    """Where a run that has ended is stored: its own folder (`RunFolder`), or the committed evidence."""

    @property
    def artifacts(self) -> Path:
        """The folder with its files."""

    @property
    def tags(self) -> dict[str, str]:
        """Where it was trained: machine, versions and commit."""

    def environments(self) -> list[dict[str, str]]:
        """Return the tags of each environment that may have changed the last bits of its numbers."""

    def probabilities(self) -> np.ndarray | None:
        """Return what the final model gave the evaluation images, float16 [image, class]; None if it was not kept."""


@dataclass(frozen=True)
class RunResult:
    """A run that has ended: its spec, where it is stored, its result, and its metrics, one row per epoch."""

    spec: RunSpec
    folder: Stored
    result: Result
    history: History


def keeps_model(experiment: str, budget: str) -> bool:
    """Whether a run of that experiment at that budget keeps its figures and its model. Small ones are too many."""
    return experiment == BASELINE or budget == "full"


def run_spec_from_json(text: str) -> RunSpec:
    """Return the run spec that `RunSpec.to_json` wrote. Raises ValueError or BadInput for anything else."""
    return parse(text, RunSpec)
