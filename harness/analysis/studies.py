"""Studies: the comparisons that README and docs quote, and their reports from the committed evidence."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import experiment
from harness.analysis.design import Design
from harness.analysis.make_report import called_for, make_report
from harness.analysis.report import Report
from harness.analysis.tuning import next_runs, ranked, tried_by_variant, unclear
from harness.config import Network, Precision, Recipe
from harness.experiment import BASELINE, LOOKS, Experiment
from harness.published import TRAIN_IMAGES
from harness.recipes import budget_called, recipe_called
from harness.run_options import TUNING_SEEDS, RunOptions, seeds_text
from harness.runs.evidence import EvidenceRun
from harness.runs.spec import Phase, RunResult


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment at one size on one kind of machine, with the seeds that were declared for it.

    name: its report is experiments/results/<name>. looks: after how many seeds it is looked at. changes: settings that
    all its variants share, as for `--set`. retuned: each variant is also compared at the learning rate that suits it.
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
    retuned: bool = False

    @property
    def design(self) -> Design:
        """The declared seeds and looks."""
        return Design(self.seeds, self.looks)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases whose runs every declared seed has."""
        return ("same recipe", "retuned") if self.retuned else ("same recipe",)

    @property
    def options(self) -> RunOptions:
        """The options of `harness run` that make these runs, with the looks that were declared."""
        named = (self.seeds, self.looks) != (tuple(range(LOOKS[-1])), LOOKS)
        return RunOptions(
            experiments=(self.experiment,),
            budget=self.budget,
            recipe=self.recipe,
            engine=self.engine,
            seeds=seeds_text(list(self.seeds)) if named else None,
            looks=",".join(map(str, self.looks)) if named and len(self.looks) > 1 else None,
            variants=self.variants,
            changes=self.changes,
            precision=self.precision,
            retune=self.retuned,
        )


def declared(study: Study) -> Experiment:
    """Return the experiment of a study, with the variants that it takes: under its recipe no two of them are alike."""
    whole = experiment.load(study.experiment).under(study.recipe)
    return whole.only([variant for variant in variants_of(study).values() if variant != BASELINE])


def train_images_of(study: Study) -> int:
    """Return the number of training images of each run of a study."""
    return budget_called(study.budget).train_images or TRAIN_IMAGES


def variants_of(study: Study) -> dict[tuple[Network, Recipe], str]:
    """Return the variants of a study by what they are. Under some recipe two are alike: the first stands for both."""
    network, recipe = recipe_called(study.recipe)
    shrunk = budget_called(study.budget).shrink(recipe, train_images_of(study))
    whole = experiment.load(study.experiment)
    chosen = whole.only(study.variants) if study.variants else whole
    return experiment.distinct(chosen.all_variants, network, shrunk, study.changes)


def runs_of(study: Study, evidence: Iterable[EvidenceRun]) -> list[RunResult]:
    """Return the runs of a study: those with its settings, whichever experiment they were trained for.

    They are of one code, that of most of the study's runs. Of a run that was trained on several devices one counts, as
    it is one seed: that of the device on which most variants of its seed were trained, then of that with most runs.
    """
    about, images = (study.engine, study.precision, study.data), train_images_of(study)
    alike = [each for each in evidence if (each.config.engine, each.config.precision, each.config.data) == about]
    variant_of = variants_of(study)

    def is_judged(run: EvidenceRun) -> bool:
        """Whether a run has the images and a seed of the study."""
        config = run.config
        return config.split == "final" and config.train_images == images and config.seed in study.seeds

    of_variants = [run for run in alike if is_judged(run) and (run.config.network, run.config.recipe) in variant_of]
    known = _once(alike, of_variants)
    judged = [run for run in known if is_judged(run)]
    found = [
        _as_run_of(study, run, variant, "same recipe", 1.0)
        for run in judged
        if (variant := variant_of.get((run.config.network, run.config.recipe)))
    ]
    if study.retuned:
        found += _retuned(study, judged, [run for run in known if run.config.split == "tune"])
    order = list(variant_of.values())
    return sorted(found, key=lambda each: (order.index(each.spec.variant), each.spec.config.seed))


def _once(runs: Sequence[EvidenceRun], of_variants: Sequence[EvidenceRun]) -> list[EvidenceRun]:
    """The runs of the code that most of a study's variants are of, each once."""
    sources = Counter(each.config.source for each in of_variants or runs)
    of_seed = Counter((each.config.seed, each.tags["device"]) for each in of_variants)
    devices = Counter(each.tags["device"] for each in runs)
    code = max(sources, key=lambda source: (sources[source], source), default="")

    def how_many(run: EvidenceRun) -> tuple[int, int, str]:
        device = run.tags["device"]
        return of_seed[run.config.seed, device], devices[device], device

    rarest_first = sorted(runs, key=how_many)
    return list({each.config.key: each for each in rarest_first if each.config.source == code}.values())


def _retuned(study: Study, judged: Iterable[EvidenceRun], on_validation: Iterable[EvidenceRun]) -> Iterator[RunResult]:
    """Yield the runs that tune a study, and for each variant whose tuning is done those at its best learning rate."""
    own = {(network, _without_rate(recipe)): (variant, recipe.learning_rate)
           for (network, recipe), variant in variants_of(study).items()}  # fmt: skip

    def placed(runs: Iterable[EvidenceRun]) -> Iterator[tuple[EvidenceRun, str, float]]:
        for run in runs:
            if found := own.get((run.config.network, _without_rate(run.config.recipe))):
                # The factors are powers of two, and a product of floats is not quite one.
                yield run, found[0], 2.0 ** round(math.log2(run.config.recipe.learning_rate / found[1]), 6)

    tuning = [
        _as_run_of(study, run, variant, "tuning", factor)
        for run, variant, factor in placed(on_validation)
        if run.config.seed in TUNING_SEEDS and run.config.train_images == train_images_of(study)
    ]
    best = {variant: ranked(tried)[0] for variant, tried in tried_by_variant(tuning).items() if not next_runs(tried)}
    yield from tuning
    for run, variant, factor in placed(judged):
        if best.get(variant) == factor:
            yield _as_run_of(study, run, variant, "retuned", factor)


def _without_rate(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, learning_rate=1.0)


def _as_run_of(study: Study, run: EvidenceRun, variant: str, phase: Phase, factor: float) -> RunResult:
    spec = dataclasses.replace(
        run.spec, experiment=study.experiment, variant=variant, budget=study.budget, recipe=study.recipe, phase=phase,
        changes="", factor=factor,
    )  # fmt: skip
    return RunResult(spec, run, run.result, run.history)


def has_been_looked_at(study: Study, results: Iterable[RunResult]) -> bool:
    """Whether every variant has the seeds of the first look. Nothing is published before."""
    seeds: dict[str, set[int]] = {variant: set() for variant in variants_of(study).values()}
    for each in results:
        if each.spec.phase == study.phases[-1]:
            seeds[each.spec.variant].add(each.spec.config.seed)
    return all(len(each) >= study.looks[0] for each in seeds.values())


def progress(study: Study, results: Sequence[RunResult]) -> tuple[int, int]:
    """Return how many of the runs there are that the design calls for up to its next look, and how many these are.

    What is decided at a look gets no further runs. Those of the tuning are not counted.
    """
    asks, without_rate = declared(study), unclear(tried_by_variant(results))
    there, planned = 0, 0
    for phase in study.phases:
        own = {(each.spec.variant, each.spec.config.seed): each for each in results if each.spec.phase == phase}
        others = [each for each in results if each.spec.phase != phase]
        rates = without_rate if phase == "retuned" else frozenset()
        wanted = called_for(asks, phase, own.get, study.design, elsewhere=others, unclear=rates)
        there, planned = there + len(wanted & own.keys()), planned + len(wanted)
    return there, planned


def report_of(study: Study, results: Sequence[RunResult]) -> Report:
    """Return the report of a study from its runs in the evidence, at least one."""
    done, planned = progress(study, results)
    return make_report(declared(study), results, study.design, missing=planned - done, command=study.options.command)
