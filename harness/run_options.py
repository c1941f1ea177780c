"""The options of the commands that are about runs, and how `--seeds` and `--looks` are read."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.common.errors import BadInput
from harness.config import value_text

#: The most seeds that a count may ask for. Who types `--seeds 20261127` means one seed, not so many runs.
MOST_SEEDS = 1000
#: The seed of every trial of a search, and the seeds of tuning runs. No result may have any of them: a learning rate or
#: a recipe must not be judged by the seeds that chose it.
TUNING_SEED = 1000
TUNING_SEEDS = (TUNING_SEED, 1001, 1002, 1003)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `harness run`, `compare` and `plan`, as given by the user."""

    experiments: Sequence[str]
    budget: str = "full"
    recipe: str = "fast"
    seeds: str | None = None
    looks: str | None = None
    split: str = "final"
    variants: Sequence[str] = ()
    data: str | None = None
    engine: str = "tensorflow"
    precision: str = "auto"
    changes: dict[str, Any] = field(default_factory=dict)
    retune: bool | None = None
    probe: bool = True
    workers: int | None = None
    slurm: str | None = None
    fresh: bool = False

    @property
    def command(self) -> str:
        """The command line for these runs, without the options that say where and how they are trained."""
        words = ["harness", "run", *self.experiments]
        usual = {each.name: each.default for each in dataclasses.fields(self)}
        for name in ("budget", "recipe", "engine", "seeds", "looks", "split", "data"):
            # Which engine is the usual one depends on the machine.
            if (value := getattr(self, name)) != usual[name] or name == "engine":
                words += [f"--{name}", value]
        words += [word for variant in self.variants for word in ("--variant", variant)]
        words += [word for name, value in self.changes.items() for word in ("--set", f"{name}={value_text(value)}")]
        words += ["--precision", self.precision] if self.precision != usual["precision"] else []
        if self.retune is not None:
            words.append("--retune" if self.retune else "--no-retune")
        return shlex.join(words)


def seeds_text(seeds: list[int]) -> str:
    """The text that `parse_seeds` reads as these seeds."""
    # With a comma, a single number is the seed itself and not how many.
    return str(len(seeds)) if seeds == list(range(len(seeds))) else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


def parse_seeds(text: str) -> list[int]:
    """`3` is the seeds 0, 1, 2; `0,4,7` is those three. BadInput for other text, doubles and tuning seeds."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadInput(f"Invalid value --seeds {text}: give how many (--seeds 10) or which (--seeds 0,4,7).")
    seeds = [int(part) for part in parts]
    if "," not in text:
        if not 1 <= seeds[0] <= MOST_SEEDS:
            raise BadInput(f"Invalid value --seeds {text}: give 1 to {MOST_SEEDS}, or which (--seeds {text},).")
        seeds = list(range(seeds[0]))
    if chose := sorted({*seeds} & {*TUNING_SEEDS}):
        raise BadInput(
            f"Invalid value --seeds {text}: seed {chose[0]} is one that learning rates are tuned and recipes "
            f"searched with, and a result must not be judged by it. Take another."
        )
    doubles = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if doubles:
        raise BadInput(f"Invalid value --seeds {text}: it has {doubles[0]} twice; give each seed once.")
    return seeds


def parse_looks(text: str) -> tuple[int, ...]:
    """`4,7,10` looks after 4, 7 and 10 seeds. Raises BadInput for other text, and for numbers that do not rise."""
    parts = [part.strip() for part in text.split(",")]
    looks = tuple(int(part) for part in parts if part.isdecimal())
    if len(looks) < len(parts) or looks[0] < 2 or list(looks) != sorted(set(looks)) or looks[-1] > MOST_SEEDS:
        raise BadInput(
            f"Invalid value --looks {text}: give after how many seeds to look, 2 to {MOST_SEEDS}, as 4,7,10."
        )
    return looks
