"""A run as it is planned, and as it ended."""

import json
from dataclasses import dataclass
from typing import Literal

from harness.config import RunConfig, from_json
from harness.runs.folder import History, Result, RunFolder

#: What a run is for. Every variant is run under the baseline's recipe; then its own learning rate is tuned, and it is
#: run again with that. A search (harness/search) runs recipes that it samples.
Phase = Literal["same recipe", "tuning", "retuned", "search"]


@dataclass(frozen=True)
class RunSpec:
    """One run of one variant: what is trained (`config`), and what the run is called.

    `changes` are those of `--set`, as `changes_text` writes them. `factor` is what the recipe's learning rate is
    multiplied by.
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
    def tags(self) -> dict[str, str]:
        """The names that it goes by, for whoever keeps its record."""
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
        """Whether the figures and the model of this run are kept: small runs come by the hundred, so theirs are not."""
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
    """A run that has ended: its spec, its folder, how it ended, and its metrics, one row per epoch."""

    spec: RunSpec
    folder: RunFolder
    result: Result
    history: History


def run_spec_from_json(text: str) -> RunSpec:
    """The inverse of `RunSpec.to_json`."""
    values = json.loads(text)
    return RunSpec(**values | {"config": from_json(json.dumps(values["config"]))})
