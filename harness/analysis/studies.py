"""Studies: the comparisons that README and docs quote, and their reports from the committed evidence."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import experiment
from harness.analysis.design import Design
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.config import Network, Precision, Recipe
from harness.data.loader import TRAIN_IMAGES
from harness.experiment import BASELINE, LOOKS, Experiment
from harness.recipes import budget_called, recipe_called
from harness.runs.evidence import EvidenceRun
from harness.runs.spec import RunResult


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment at one size on one kind of machine, with the seeds that were declared for it.

    name: its report is experiments/results/<name>. looks: after how many seeds it is looked at. changes: settings that
    all its variants share, as for `--set`.
    """

    name: str
    experiment: str
    budget: str = "quick"
    recipe: str = "fast"
    engine: str = "tensorflow"
    precision: Precision = "bfloat16"
    data: str = "cifar10-jpeg75"
    seeds: tuple[int, ...] = tuple(range(10))
    looks: tuple[int, ...] = LOOKS
    changes: dict[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()

    @property
    def design(self) -> Design:
        """The declared seeds and looks."""
        return Design(self.seeds, self.looks)

    @property
    def command(self) -> str:
        """The command that makes these runs."""
        words = [f"harness run {self.experiment}"]
        for name, usual in {"budget": "full", "recipe": "fast", "engine": "tensorflow"}.items():
            if (value := getattr(self, name)) != usual:
                words.append(f"--{name} {value}")
        words += [f"--variant '{variant}'" for variant in self.variants]
        words += [f"--set {name}={value}" for name, value in self.changes.items()]
        return " ".join([*words, f"--precision {self.precision} --no-retune"])


def declared(study: Study) -> Experiment:
    """Return the experiment of a study, with the variants that it takes: under its recipe no two of them are alike."""
    whole = experiment.load(study.experiment)
    return whole.only([variant for variant in variants_of(study).values() if variant != BASELINE])


def images_of(study: Study) -> int:
    """Return the number of training images of each run of a study."""
    return budget_called(study.budget).train_images or TRAIN_IMAGES


def variants_of(study: Study) -> dict[tuple[Network, Recipe], str]:
    """Return the variants of a study by what they are. Under some recipe two are alike: the first stands for both."""
    network, recipe = recipe_called(study.recipe)
    shrunk = budget_called(study.budget).shrink(recipe, images_of(study))
    whole = experiment.load(study.experiment)
    chosen = whole.only(study.variants) if study.variants else whole
    return experiment.distinct(chosen.all_variants, network, shrunk, study.changes)


def runs_of(study: Study, evidence: Iterable[EvidenceRun]) -> list[RunResult]:
    """Return the runs of a study: those with its settings, whichever experiment they were trained for."""
    variant_of, found = variants_of(study), []
    images = images_of(study)
    for run in evidence:
        config = run.config
        variant = variant_of.get((config.network, config.recipe))
        about = (config.engine, config.precision, config.data, config.split, config.train_images)
        if variant is None or about != (study.engine, study.precision, study.data, "final", images):
            continue
        if config.seed in study.seeds:
            spec = dataclasses.replace(
                run.spec, experiment=study.experiment, variant=variant, budget=study.budget, recipe=study.recipe,
                phase="same recipe", changes="", factor=1.0,
            )  # fmt: skip
            found.append(RunResult(spec, run, run.result, run.history))
    order = list(variant_of.values())
    return sorted(found, key=lambda each: (order.index(each.spec.variant), each.spec.config.seed))


def has_been_looked_at(study: Study, results: Iterable[RunResult]) -> bool:
    """Whether every variant has the seeds of the first look. Nothing is published before."""
    seeds: dict[str, set[int]] = {variant: set() for variant in variants_of(study).values()}
    for each in results:
        seeds[each.spec.variant].add(each.spec.config.seed)
    return all(len(each) >= study.looks[0] for each in seeds.values())


def report_of(study: Study, results: Sequence[RunResult]) -> Report:
    """Return the report of a study from its runs in the evidence, at least one."""
    planned = len(variants_of(study)) * len(study.seeds)
    return make_report(declared(study), results, study.design, missing=planned - len(results), command=study.command)
