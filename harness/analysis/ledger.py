"""The ledger: every try to reach the published accuracy in fewer epochs, as data, and the rules that a try must keep.

    experiments/records/<name>.json    an idea and its tries; written by `harness record` alone

A try is one setting on one split, with its runs. What is computed from the runs (n, mean, interval) is written beside
them for readers, and checked when the file is read.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.analysis.stats import t_interval
from harness.common.documents import read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.paths import PROJECT
from harness.config import Network, Recipe, RunConfig, changes_text, from_json
from harness.published import ACCURACY_TARGET
from harness.recipes import RECIPES
from harness.run_options import seeds_text

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")

RECORDS = PROJECT / "experiments" / "records"

#: Seeds that a try needs before it is kept or dropped.
FEWEST_SEEDS = 3

#: Seeds of a look at the test images: no more and no fewer, decided before any look.
LOOK_SEEDS = 10

#: The level at which a look is a record, one-sided: the bar of the published speed-run ledgers.
RECORD_ALPHA = 0.01

Decision = Literal["kept", "dropped", "undecided", "look"]


@dataclass(frozen=True)
class TriedRun:
    """One run of a try. accuracy: that of a guess if the run diverged. commit: as in its environment. date: UTC."""

    seed: int
    run_key: str
    accuracy: float
    diverged: bool
    hardware: str
    commit: str
    date: str


@dataclass(frozen=True)
class Try:
    """One setting on one split. config: of the runs, with seed 0. runs: sorted by seed."""

    config: RunConfig
    runs: tuple[TriedRun, ...]
    decision: Decision

    @property
    def accuracies(self) -> dict[int, float]:
        """The accuracy by seed."""
        return {run.seed: run.accuracy for run in self.runs}

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return float(np.mean(list(self.accuracies.values())))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t interval of the mean; None with one seed, or equal ones."""
        return t_interval(list(self.accuracies.values()))

    @property
    def p(self) -> float | None:
        """The one-sided p of a mean above the published accuracy; None with one seed, or equal ones."""
        if self.interval is None:
            return None
        return float(stats.ttest_1samp(list(self.accuracies.values()), ACCURACY_TARGET, alternative="greater").pvalue)

    @property
    def is_record(self) -> bool:
        """Whether this is a look that is above the published accuracy."""
        return self.config.split == "final" and self.p is not None and self.p < RECORD_ALPHA

    @property
    def settings(self) -> tuple[Network, Recipe, str]:
        """What is tried: the network, the recipe and the data."""
        return self.config.network, self.config.recipe, self.config.data_fingerprint

    @property
    def changes(self) -> str:
        """The settings that differ from `fast`, as `--set` takes them."""
        return changes_text(changes_of(self.config))

    @property
    def command(self) -> str:
        """The command that trains these runs."""
        words = ["harness", "run", "baseline", "--seeds", seeds_text([run.seed for run in self.runs])]
        words += [] if self.config.split == "final" else ["--split", self.config.split]
        for name, value in changes_of(self.config).items():
            words += ["--set", changes_text({name: value})]
        return shlex.join([*words, "--engine", self.config.engine, "--precision", self.config.precision])


@dataclass(frozen=True)
class Idea:
    """What was tried, in a sentence, and the tries."""

    text: str
    tries: tuple[Try, ...] = ()


@dataclass(frozen=True)
class WrittenTry:
    """A try as its file holds it. What follows from runs and config is there for readers.

    mean, interval: rounded, as machines may differ in the last digits. config: as in a run's config.json.
    """

    changes: str
    epochs: int
    split: str
    decision: Decision
    n: int
    mean: float
    interval: tuple[float, float] | None
    command: str
    runs: tuple[TriedRun, ...]
    config: dict[str, Any]


@dataclass(frozen=True)
class WrittenIdea:
    """The content of a file of the ledger."""

    idea: str
    tries: tuple[WrittenTry, ...]


def changes_of(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that differ from those of `fast`, in the order of the fields."""
    network, recipe = RECIPES["fast"]
    usual = vars(network) | vars(recipe)
    tried = vars(config.network) | vars(config.recipe)
    return {name: value for name, value in tried.items() if value != usual[name]}


def read_ledger() -> dict[str, Idea]:
    """Return all ideas by name. Raises BadInput for a file that `harness record` has not written."""
    return {file.stem: _read(file) for file in sorted(RECORDS.glob("[!.]*.json"))}


def _read(file: Path) -> Idea:
    try:
        document: WrittenIdea = read_json(file, WrittenIdea)
        return Idea(document.idea, tuple(_checked(each) for each in document.tries))
    except (OSError, ValueError, BadInput) as error:
        raise BadInput(
            f"{file} is no file of the ledger ({error}): `harness record` writes these files, and nobody else; take "
            f"the committed one back."
        ) from error


def _checked(each: WrittenTry) -> Try:
    """Return a try. Raises ValueError if its numbers or run keys are not those of its runs and config."""
    tried = Try(from_json(json.dumps(each.config)), each.runs, each.decision)
    again = written(tried)
    keys = [dataclasses.replace(tried.config, seed=run.seed).key for run in each.runs]
    same = (again.n, again.mean, again.interval) == (each.n, each.mean, each.interval)
    if not same or keys != [run.run_key for run in each.runs]:
        raise ValueError("a number in it is not what its runs give")
    return tried


def written(tried: Try) -> WrittenTry:
    """Return a try as its file holds it."""
    interval = tried.interval
    return WrittenTry(
        changes=tried.changes,
        epochs=tried.config.recipe.epochs,
        split=tried.config.split,
        decision=tried.decision,
        n=len(tried.runs),
        mean=round(tried.mean, 6),
        interval=(round(interval[0], 6), round(interval[1], 6)) if interval else None,
        command=tried.command,
        runs=tried.runs,
        config=json.loads(tried.config.to_json()),
    )


def write(name: str, idea: Idea) -> Path:
    """Write the file of an idea."""
    file = RECORDS / f"{name}.json"
    document = dataclasses.asdict(WrittenIdea(idea.text, tuple(written(each) for each in idea.tries)))
    write_atomically(file, (json.dumps(document, indent=1) + "\n").encode())
    return file


def entered(ledger: Mapping[str, Idea], name: str, new: Try) -> dict[str, Idea]:
    """Return the ledger with a try entered under an idea, which is there. Raises BadInput if a rule forbids it."""
    idea = ledger[name]
    if new.config.split == "final":
        kept = _as_a_look(_all_tries(ledger), new)
        tries = idea.tries if kept else (*idea.tries, new)
    else:
        known = next((each for each in idea.tries if each.config == new.config), None)
        merged = _merged(known, new) if known else new
        _check_decision(merged)
        tries = (*(each for each in idea.tries if each is not known), merged)
    order = sorted(tries, key=lambda each: (each.config.recipe.epochs, each.config.split, -each.mean))
    return {**ledger, name: Idea(idea.text, tuple(order))}


def _all_tries(ledger: Mapping[str, Idea]) -> list[Try]:
    return [each for idea in ledger.values() for each in idea.tries]


def _as_a_look(tries: Iterable[Try], new: Try) -> Try | None:
    """Return the entry of this very look, if there is one. Raises BadInput if it may not be entered."""
    alike = [each for each in tries if each.settings == new.settings]
    for each in alike:
        if each.config.split == "final":
            if (each.config, each.accuracies) == (new.config, new.accuracies):
                return each
            raise BadInput(
                f"The test images have been looked at with these settings already ({each.command}): the first look "
                f"counts, and there is no second one."
            )
    if len(new.runs) != LOOK_SEEDS:
        raise BadInput(
            f"A look at the test images has {LOOK_SEEDS} seeds, and here are {len(new.runs)}: which and how many is "
            f"decided before the first of them. Name a folder or file with the runs of the look alone."
        )
    chosen = any(each.decision == "kept" for each in alike)
    if not chosen and new.settings[:2] not in RECIPES.values():
        raise BadInput(
            f"These settings have not been kept on the validation images ({new.changes}): record their runs of "
            f"`--split tune` first, with `--decision kept`."
        )
    return None


def _merged(known: Try, new: Try) -> Try:
    """Return a try with the runs of both: none is ever taken out."""
    runs = {run.seed: run for run in known.runs}
    for run in new.runs:
        if runs.setdefault(run.seed, run).accuracy != run.accuracy:
            raise BadInput(
                f"Run {run.run_key} (seed {run.seed}) has {run.accuracy} here and {runs[run.seed].accuracy} in the "
                f"ledger: it was trained twice, and the first one counts. Leave its folder or file out."
            )
    decision = known.decision if new.decision == "undecided" else new.decision
    return dataclasses.replace(known, runs=tuple(runs[seed] for seed in sorted(runs)), decision=decision)


def _check_decision(tried: Try) -> None:
    if tried.decision in ("kept", "dropped") and len(tried.runs) < FEWEST_SEEDS:
        raise BadInput(
            f"{tried.changes or 'fast'} has {len(tried.runs)} of the {FEWEST_SEEDS} seeds that a try needs before it "
            f"is {tried.decision}: train more, or leave --decision out."
        )
