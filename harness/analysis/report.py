"""The report of an experiment: its variants compared, its predictions scored, and every run that it rests on."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import published
from harness.analysis.factorial import Effect
from harness.analysis.history import Inside, Reached
from harness.analysis.images import ImagesRow
from harness.analysis.stats import Compared
from harness.analysis.target import AgainstTarget, Score
from harness.analysis.tuning import Maxima
from harness.config import Network, judged_by
from harness.experiment import Direction
from harness.runs.spec import Phase

#: Test accuracies: a report tells in which epoch a variant first has each of them.
LEVELS = (0.5, 0.7, 0.8, published.ACCURACY_TARGET)


@dataclass(frozen=True)
class RunLink:
    """Where MLflow keeps a run: its id and its page, empty where there is none; and how long the tracking took."""

    run_id: str = ""
    url: str = ""
    tracking_seconds: float | None = None


@dataclass(frozen=True)
class VariantRow:
    """One variant over its seeds, in one phase. Accuracies are shares: 0.01 is one point.

    `settings` are those that differ from the baseline's, as for `--set`; None for the baseline, and for runs that
    were chosen by hand, whose names say it. `n` counts all runs, `diverged` and `stuck` (below STUCK) those of
    them that failed. `each` is the accuracy by seed, in the order of `seeds`, and CHANCE for a run that diverged.
    `accuracy` and `cross_entropy` (nats) are of the finished runs alone, and None where there is none. `compared`:
    whether the notebook's numbers say anything about such runs. `reached` is by LEVELS. `mechanism` has each
    measure that the experiment names, None where it was not taken, and `measured_by_older_code` counts the runs
    that are left out of these means. `against_baseline` is None for the baseline, for a variant without a seed in
    common with it, and where the runs are those of the earlier phase that `judged_in` names: no pair of runs gets
    two verdicts. `unlike_pairs` counts the seeds whose two runs were trained in different environments (processor,
    threads, versions), so that more than the variant differs. Without `rate_is_clear`, a retuned variant has no
    `against_baseline`: its rate, or the baseline's, was chosen by chance.
    """

    variant: str
    settings: str | None
    phase: Phase
    learning_rate: float
    epochs: int
    batch_size: int
    note: str
    n: int
    seeds: tuple[int, ...]
    each: tuple[float, ...]
    diverged: int
    stuck: int
    compared: bool
    accuracy: AgainstTarget | None
    cross_entropy: AgainstTarget | None
    reached: dict[str, Reached]
    mechanism: dict[str, Inside | None]
    measured_by_older_code: int
    against_baseline: Compared | None = None
    judged_in: Phase | None = None
    unlike_pairs: int = 0
    rate_is_clear: bool = True


@dataclass(frozen=True)
class GridPoint:
    """A learning rate that was tried, and its mean accuracy on the validation images; `each` is that of each seed."""

    learning_rate: float
    accuracy: float
    each: tuple[float, ...]


@dataclass(frozen=True)
class TunedVariant:
    """The learning rates tried for a variant, lowest first, and the `best`; at the edge a better one may lie beyond.

    `clear`: the best one is inside the grid, and no other comes near it. `maxima` compares the best means of the
    variant and of the baseline, whichever rates have them; None for the baseline.
    """

    variant: str
    grid: tuple[GridPoint, ...]
    best: float
    at_the_edge: bool
    clear: bool
    maxima: Maxima | None


@dataclass(frozen=True)
class EffectRow(Effect):
    """A main effect ("norm") or an interaction ("norm x relu") of a factorial experiment, in one phase."""

    phase: Phase
    effect: str


@dataclass(frozen=True)
class ScoredPrediction:
    """A prediction with what became of it in one phase; `by` is a share of accuracy (0.02 is two points)."""

    phase: Phase
    variant: str
    direction: Direction
    by: float
    score: Score
    because: str


@dataclass(frozen=True)
class SelectionBias:
    """A winner of a search: its gain on the baseline there, and what was confirmed of it on fresh seeds.

    All are shares of accuracy; `interval` is the 95 % interval of `confirmed`, and `selection_bias` is the difference
    of the two gains.
    """

    variant: str
    searched: float
    confirmed: float
    interval: tuple[float, float] | None
    selection_bias: float


@dataclass(frozen=True)
class RunRow:
    """One run. `pflop` is 1e15 counted operations; times are in seconds; `trained`: by the command that reports it.

    What is not known is None, and an empty text for MLflow's id and page, and for the folder of its artifacts.
    `distance_to_published` is None for runs that cannot be held against the published curve.
    """

    name: str
    variant: str
    phase: Phase
    seed: int
    learning_rate: float
    run_key: str
    mlflow_run_id: str
    url: str
    status: str
    reason: str
    trained: bool
    accuracy: float | None
    cross_entropy: float | None
    training_seconds: float | None
    tracking_seconds: float | None
    pflop: float
    distance_to_published: published.Distance | None
    weights_sha256: str
    artifacts: str


@dataclass(frozen=True)
class Report:
    """An experiment's report. What it was made on comes first; `train_images` and `eval_images` count images.

    `network` is the baseline's, None where no run of it is there; `class_names` are empty where no run has told them.
    `looks` are the numbers of seeds after which the design looks at the runs; `exploratory`: they were not declared
    before the first run. `no_effects`: a factorial experiment has none, as a run has failed. `missing` runs are not
    done yet, and `stale` ones were done by older code and are not used. `command` is what makes the report again, where
    that is not told by the rest. `measured_by` is the hash of the code that measured inside the networks, if that is
    not today's. `folder` and `url` are empty until it is published.
    """

    experiment: str
    question: str
    recipe: str
    budget: str
    changes: str
    split: str
    data: str
    data_fingerprint: str
    train_images: int
    eval_images: int
    precision: str
    engine: str
    source: str
    network: Network | None
    class_names: tuple[str, ...]
    variants: tuple[VariantRow, ...]
    tuning: tuple[TunedVariant, ...]
    effects: tuple[EffectRow, ...]
    predictions: tuple[ScoredPrediction, ...]
    runs: tuple[RunRow, ...]
    looks: tuple[int, ...]
    exploratory: bool
    no_effects: bool = False
    missing: int = 0
    stale: int = 0
    command: str = ""
    measured_by: str = ""
    selection_bias: tuple[SelectionBias, ...] = ()
    images: tuple[ImagesRow, ...] = ()
    folder: str = ""
    url: str = ""

    @property
    def judged(self) -> str:
        """What the images are called that the runs are judged by."""
        return judged_by(self.split)

    def rows(self, phase: str) -> list[VariantRow]:
        """The variants of one phase."""
        return [row for row in self.variants if row.phase == phase]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: lists for tuples, and null for a number that is not finite.

        Some fields are left out while they are empty.
        """
        document = plain(dataclasses.asdict(self))
        optional = ("no_effects", "command", "measured_by", "selection_bias", "images", "folder", "url")
        return {name: value for name, value in document.items() if value or name not in optional}


def plain(value: Any) -> Any:
    """A value that JSON can hold: tuples as lists, and None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
