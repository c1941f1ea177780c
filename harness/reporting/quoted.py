"""The numbers that README and docs quote, written into them from the evidence.

In a page, a line `<!--evidence:NAME-->` begins a block, and `<!--end-->` ends it. What stands between them is made
here, never typed. `harness evidence publish` writes it, and `harness evidence verify` compares.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.stats import CHANCE, STUCK, t_interval
from harness.analysis.studies import Study, runs_of
from harness.common import rounded
from harness.common.errors import BadInput
from harness.experiment import BASELINE
from harness.runs.evidence import EvidenceRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCK = re.compile(r"(<!--evidence:([\w-]+)-->\n)(.*?)(<!--end-->)", re.DOTALL)

#: Makes the text of a block from the evidence.
Block = Callable[[Sequence[EvidenceRun]], str]


@dataclass(frozen=True)
class Drawn:
    """A figure of numbers from the evidence. numbers: as text, by which a drawn one is known. draw: makes it."""

    numbers: str
    draw: Callable[[], "Figure"]


@dataclass(frozen=True)
class Difference:
    """Accuracy of a variant minus that of the baseline, as shares, over the `n` seeds that both have.

    interval: 95 %, by Student's t, for this comparison alone. accuracy: the variant's mean over these seeds. stuck:
    seeds whose run of the variant stayed at chance or diverged; if there is one, the outcomes are of two kinds and
    their mean says nothing.
    """

    mean: float
    interval: tuple[float, float]
    n: int
    stuck: int
    accuracy: float

    def __str__(self) -> str:
        if self.stuck:
            return f"stuck in {self.stuck} of {self.n}"
        return rounded.points(self.mean, self.interval)


def difference(study: Study, variant: str, evidence: Iterable[EvidenceRun], *, against: str = BASELINE) -> Difference:
    """Return what a variant does in a study, against another one. Raises BadInput with fewer than two common seeds."""
    by_variant: dict[str, dict[int, float]] = {}
    for each in runs_of(study, evidence):
        accuracy = each.result.metrics.get("accuracy", CHANCE)
        by_variant.setdefault(each.spec.variant, {})[each.spec.config.seed] = accuracy
    own, base = by_variant.get(variant, {}), by_variant.get(against, {})
    seeds = sorted(own.keys() & base.keys())
    if len(seeds) < 2:
        raise BadInput(f"The evidence has {len(seeds)} seeds of {variant!r} in the study {study.name}: two are needed.")
    values = np.array([own[seed] for seed in seeds])
    differences = values - [base[seed] for seed in seeds]
    mean, stuck = float(differences.mean()), int((values < STUCK).sum())
    return Difference(mean, t_interval(list(differences)) or (mean, mean), len(seeds), stuck, float(values.mean()))


def mean_interval(values: Sequence[float]) -> str:
    """Return the mean of accuracies with its 95 % t interval, as text: `0.8698 [0.8685, 0.8711]`."""
    mean = float(np.mean(values))
    low, high = t_interval(values) or (mean, mean)
    return rounded.accuracy(mean, (low, high))


def filled(text: str, blocks: Mapping[str, Block], evidence: Sequence[EvidenceRun]) -> str:
    """Return a page with its blocks made anew. Raises BadInput for a block that has no maker."""

    def made(found: re.Match[str]) -> str:
        if found[2] not in blocks:
            raise BadInput(f"A page has a block {found[2]!r} that is not declared; there are {', '.join(blocks)}.")
        return found[1] + blocks[found[2]](evidence).rstrip("\n") + "\n" + found[4]

    return BLOCK.sub(made, text)
