"""Tune the recipes on the validation images: `python -m experiments.gpu.tune BUNDLES NAME STAGE...`.

Declared before any of it was run. Every run trains on the 45,000 images of the split `tune` and is judged by the
accuracy on the other 5,000; the test images are not touched. A setting's value is its mean over its seeds. A run that
diverges counts as 0.1. The stages:

    classic   Recipe `classic`. All of RATES x DECAYS with seed 0. If the best setting has the lowest or highest rate or
              decay, the next value outward is tried, with the best other value and its neighbours; this is done at most
              twice. Then the best three settings get the seeds 1 and 2. Chosen: the best mean of three seeds.
    record5   Recipe `fast` with 5 epochs: the recipe itself (the control), and DRAWN settings that were drawn at random
              (`drawn`). Seed 0 for all; seeds 1 and 2 for the control and the best five of the others; seeds 3 and 4
              for the control and the best three of these six. Chosen: the best mean of five seeds.
    record4   The best three of record5 with 4 epochs, seeds 0, 1, 2.
    record6   The best two of record5 with 6 epochs, seeds 0, 1, 2.
    rates     Does `harness.recipes.rate_for_batch` give the right learning rate? Batch sizes 512, 64 and 128, each with
              0.5, 1 and 2 times the rule's rate, for `fast` and for what `classic` chose; seeds 0, 1, 2.

A seed by which settings were chosen flatters them: results need other seeds, or the test images.

What is done is read from the run folders of BUNDLES and not trained again. BUNDLES/tuning-NAME.json has all settings,
written after every run. Budget and precision are $BUDGET (full) and $PRECISION (bfloat16); `smoke` tries few settings.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from experiments.gpu.lane import FAILURES, watched
from harness import data
from harness.analysis.stats import CHANCE
from harness.commands.execution import choose_recorder, in_the_terminal
from harness.common.errors import first_line
from harness.common.files import write_atomically
from harness.common.signals import install
from harness.config import Precision, SplitName, changes_text
from harness.execute.run_one import is_done, result_of, run_one
from harness.experiment import BASELINE
from harness.plan import Settings, run_spec
from harness.recipes import CLASSIC, FAST, rate_for_batch
from harness.runs.spec import RunSpec

#: Values for `classic`. Those in [GRID] are tried in any case, the others only if the best one is at the edge.
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
DECAYS = (0.00005, 0.00015, 0.0005, 0.0015, 0.005, 0.015, 0.05, 0.15, 0.5)
GRID = slice(2, -2)
EXTENSIONS = 2

DRAWN = 35
GENERATOR_SEED = 20261127

RULE_BATCHES = (512, 64, 128)
RULE_FACTORS = (1.0, 0.5, 2.0)


def drawn(count: int, batch: int) -> list[dict[str, Any]]:
    """Return random settings. Half of `batch`, the recipe's batch size, is drawn a third of the time."""
    rng = np.random.default_rng(GENERATOR_SEED)

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    settings = []
    for _ in range(count):
        size = int(rng.choice([batch // 2, batch, batch]))
        rate = rate_for_batch("muon", between(0.02, 0.12), 128, size)
        settings.append(
            {
                "batch_size": size,
                "learning_rate": float(f"{rate:.3g}"),
                "warmup": float(rng.choice([0.1, 0.2, 0.3, 0.4])),
                "momentum": float(rng.choice([0.85, 0.9, 0.95])),
                "weight_decay": float(f"{between(0.005, 0.08):.3g}"),
                "label_smoothing": float(rng.choice([0.05, 0.1, 0.15, 0.2])),
                "shift": int(rng.choice([1, 2, 3, 4])),
            }
        )
    return settings


@dataclass
class Trial:
    """A setting: a recipe with changes, and the validation accuracy of each seed."""

    stage: str
    recipe: str
    changes: dict[str, Any]
    note: str = ""
    split: SplitName = "tune"
    accuracy: dict[int, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What is tried, as text."""
        return f"{self.stage}, {self.recipe} with {changes_text(self.changes)}"

    @property
    def mean(self) -> float:
        """The mean over the seeds; below any accuracy if there is none."""
        return sum(self.accuracy.values()) / len(self.accuracy) if self.accuracy else -1.0


def best(trials: Iterable[Trial], count: int) -> list[Trial]:
    """Return the trials with the highest means."""
    return sorted(trials, key=lambda trial: -trial.mean)[:count]


class Tuning:
    """The stages, each of which returns its trials. A stage that needs an earlier one runs that first."""

    def __init__(self, folder: Path, name: str, budget: str, precision: Precision) -> None:
        self.recorder = choose_recorder(folder)
        self.file = folder / f"tuning-{name}.json"
        self.budget, self.precision, self.small = budget, precision, budget == "smoke"
        self.dataset = data.load("cifar10")
        self.execution = in_the_terminal(self.recorder, probe=False)
        self.trials: list[Trial] = []
        self.chosen: dict[str, Trial] = {}
        self.done: dict[str, list[Trial]] = {}
        self.in_a_row = 0
        self.begin = time.monotonic()

    def run(self, stage: str) -> list[Trial]:
        """Return the trials of a stage, from memory if it was run before."""
        if stage not in self.done:
            self.done[stage] = STAGES[stage](self)
        return self.done[stage]

    def trial(
        self, stage: str, recipe: str, changes: dict[str, Any], note: str = "", split: SplitName = "tune"
    ) -> Trial:
        """Return the trial of a setting, which is new or was tried in this stage before."""
        for known in self.trials:
            if (known.stage, known.recipe, known.changes) == (stage, recipe, changes):
                return known
        self.trials.append(Trial(stage, recipe, changes, note, split))
        return self.trials[-1]

    def train(self, trials: Sequence[Trial], *seeds: int) -> None:
        """Train the trials with some seeds: all with the first one, then all with the second one."""
        for seed in seeds:
            # One compiled program after the other: the batch size is compiled in.
            for trial in sorted(trials, key=lambda trial: -trial.changes.get("batch_size", 128)):
                if seed not in trial.accuracy:
                    self._train(trial, seed)

    def _train(self, trial: Trial, seed: int) -> None:
        begin = time.monotonic()
        words = f"{trial.label}, seed {seed}"
        try:
            spec = self.spec(trial, seed)
            with watched():
                known = result_of(spec) if is_done(spec, self.recorder) else None
                result = known.result if known else run_one(spec, self.dataset, self.execution)
            trial.accuracy[seed] = CHANCE if result.status == "diverged" else result.metrics["accuracy"]
            said, self.in_a_row = f"{trial.accuracy[seed]:.4f}{' known' if known else ''}", 0
        except Exception as error:
            said, self.in_a_row = f"failed: {first_line(error)}", self.in_a_row + 1
        now = time.monotonic()
        print(f"{words}: {said} ({now - begin:.1f} s, {now - self.begin:.0f} in all)", flush=True)
        self.write()
        if self.in_a_row == FAILURES:
            raise SystemExit(1)

    def spec(self, trial: Trial, seed: int) -> RunSpec:
        """Return what is trained for a trial with a seed."""
        settings = Settings(self.budget, trial.recipe, trial.split, "jax", self.precision, trial.changes)
        return run_spec(BASELINE, BASELINE, {}, self.dataset, settings, seed, "same recipe")

    def write(self) -> None:
        """Write the document of what was tried."""
        rows = [{**dataclasses.asdict(trial), "mean": trial.mean, "n": len(trial.accuracy)} for trial in self.trials]
        chosen = {stage: {"recipe": trial.recipe, "changes": trial.changes} for stage, trial in self.chosen.items()}
        document = {"budget": self.budget, "precision": self.precision, "trials": rows, "chosen": chosen}
        write_atomically(self.file, json.dumps(document, indent=1).encode())

    def choose(self, stage: str, trials: Iterable[Trial]) -> None:
        """Record the choice of a stage."""
        (self.chosen[stage],) = best(trials, 1)
        self.write()

    def batch(self, size: int) -> int:
        """Return a batch size, which is smaller for the few images of `smoke`."""
        return size // 8 if self.small else size


def classic(tuning: Tuning) -> list[Trial]:
    """Tune learning rate and weight decay of `classic`."""
    # A cell is a pair of indices in RATES and DECAYS.
    rates, decays = ([4, 5], [4, 5]) if tuning.small else ([*range(len(RATES))[GRID]], [*range(len(DECAYS))[GRID]])
    cells: dict[tuple[int, int], Trial] = {}

    def try_cells(wanted: Iterable[tuple[int, int]]) -> None:
        for i, j in wanted:
            if 0 <= i < len(RATES) and 0 <= j < len(DECAYS):
                changes = {"learning_rate": RATES[i], "weight_decay": DECAYS[j]}
                cells[i, j] = tuning.trial("classic", "classic", changes)
        tuning.train([*cells.values()], 0)

    try_cells((i, j) for i in rates for j in decays)
    for _ in range(EXTENSIONS):
        i, j = max(cells, key=lambda cell: cells[cell].mean)
        outward: list[tuple[int, int]] = []
        for end, step in ((rates[0], -1), (rates[-1], 1)):
            if i == end:
                outward += [(i + step, j + d) for d in (-1, 0, 1)]
        for end, step in ((decays[0], -1), (decays[-1], 1)):
            if j == end:
                outward += [(i + d, j + step) for d in (-1, 0, 1)]
        if not outward or tuning.small:
            break
        try_cells(outward)
        rates, decays = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    finalists = best(cells.values(), 3)
    tuning.train(finalists, 1, 2)
    tuning.choose("classic", finalists)
    return [*cells.values()]


def record5(tuning: Tuning) -> list[Trial]:
    """Tune `fast` with 5 epochs. Returns the finalists, the best first."""
    batch = tuning.batch(FAST.batch_size)
    epochs = {"epochs": 2 if tuning.small else 5}
    control = tuning.trial("record5", "fast", epochs, "control")
    others = [
        tuning.trial("record5", "fast", epochs | changes) for changes in drawn(2 if tuning.small else DRAWN, batch)
    ]
    tuning.train([control, *others], 0)
    six = [control, *best(others, 1 if tuning.small else 5)]
    tuning.train(six, 1, 2)
    finalists = [control, *(trial for trial in best(six, 3) if trial is not control)]
    tuning.train(finalists, 3, 4)
    tuning.choose("record5", finalists)
    return best(finalists, len(finalists))


def other_epochs(tuning: Tuning, epochs: int, count: int) -> list[Trial]:
    """Train the best settings of record5 for fewer or more epochs."""
    stage = f"record{epochs}"
    trials = [
        tuning.trial(stage, "fast", trial.changes | {"epochs": epochs - 3 if tuning.small else epochs}, trial.note)
        for trial in tuning.run("record5")[:count]
    ]
    tuning.train(trials, 0, 1, 2)
    tuning.choose(stage, trials)
    return trials


def rates(tuning: Tuning) -> list[Trial]:
    """Try the learning rates that the rule gives for other batch sizes, and half and twice those."""
    tuning.run("classic")
    chosen = tuning.chosen["classic"].changes
    trials = []
    for size in RULE_BATCHES:
        for name, recipe, changes in (("fast", FAST, {}), ("classic", CLASSIC, chosen)):
            rate = changes.get("learning_rate", recipe.learning_rate)
            ruled = rate_for_batch(recipe.optimizer, rate, recipe.batch_size, size)
            for factor in RULE_FACTORS[: 1 if tuning.small else None]:
                tried = {"batch_size": tuning.batch(size), "learning_rate": ruled * factor}
                trials.append(tuning.trial("rates", name, changes | tried, f"batch {size}, {factor:g} x the rule"))
    tuning.train(trials, *((0,) if tuning.small else (0, 1, 2)))
    return trials


STAGES: dict[str, Callable[[Tuning], list[Trial]]] = {
    "classic": classic,
    "record5": record5,
    "record4": lambda tuning: other_epochs(tuning, 4, 3),
    "record6": lambda tuning: other_epochs(tuning, 6, 2),
    "rates": rates,
}


def in_the_environment(tries: Callable[[str, Precision], None]) -> int:
    """Call with the budget and the precision of the environment. Returns the exit status: 0, or 130 after a signal."""
    install()
    precision = os.environ.get("PRECISION", "bfloat16")
    assert precision in get_args(Precision), precision
    try:
        tries(os.environ.get("BUDGET", "full"), cast(Precision, precision))
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 130
    print("done", flush=True)
    return 0


def main() -> int:
    """Run the stages. Returns the exit status."""
    folder, name, stages = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]

    def tries(budget: str, precision: Precision) -> None:
        tuning = Tuning(folder, name, budget, precision)
        for stage in stages:
            tuning.run(stage)

    return in_the_environment(tries)


if __name__ == "__main__":
    sys.exit(main())
