"""`harness run`: from the words of a command line to trained specs, and the reports of what came of them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from harness import experiment, plan, tracking
from harness.analysis.make_report import best_factors, make_report
from harness.analysis.report import Report, RunLink
from harness.common import paths
from harness.common.errors import BadInput
from harness.common.hardware import resolve_precision
from harness.config import SplitName, change
from harness.data import Dataset, how_to_get_cifar10, load
from harness.engine.protocol import ENGINES
from harness.execute.run_one import forget, is_done, result_of
from harness.execute.train_all import train_all
from harness.experiment import BASELINE, Experiment
from harness.plan import RunResult, RunSpec, Settings
from harness.recipes import BUDGETS, named, recipe_called
from harness.reporting.console import log


@dataclass(frozen=True)
class Request:
    """The options of `harness run`, as given."""

    experiments: Sequence[str]
    budget: str = "full"
    recipe: str = "fast"
    seeds: str | None = None
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


class Job:
    """A request whose words all fit, with its data and its specs. Raises BadInput for what does not fit."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._trained: set[str] = set()
        # What is wrong with the command is said before any data is looked for, let alone downloaded.
        self.experiments = {name: _chosen(name, request) for name in request.experiments}
        named("budget", BUDGETS, request.budget)
        named("engine", dict.fromkeys(ENGINES), request.engine)
        most = BUDGETS[request.budget].most_seeds
        self.seeds = {
            name: plan.parse_seeds(request.seeds or str(min(each.seeds, most or each.seeds)))
            for name, each in self.experiments.items()
        }
        if request.split not in get_args(SplitName):
            raise BadInput(f"--split {request.split} does not fit: it is {' or '.join(get_args(SplitName))}.")
        if request.workers is not None and request.workers < 1:
            raise BadInput(f"--workers {request.workers} does not fit: at least one process has to do the work.")
        precision = resolve_precision(request.precision, request.engine)
        one_baseline = list(self.seeds.values()) == [[0]] and list(self.seeds) == [BASELINE]
        may_fall_back = request.budget == "smoke" or (one_baseline and request.recipe == "fast")
        self.dataset = find_data(request.data, may_fall_back=may_fall_back)
        split = cast(SplitName, request.split)
        self.settings = Settings(request.budget, request.recipe, split, request.engine, precision, request.changes)
        self.specs = {
            name: plan.run_specs(name, each, self.dataset, self.settings, self.seeds[name])
            for name, each in self.experiments.items()
        }
        retune = request.budget != "smoke" if request.retune is None else request.retune
        self.tuning = {
            name: plan.tuning_specs(name, each, self.dataset, self.settings)
            for name, each in self.experiments.items()
            if retune and each.variants
        }

    def train(self) -> None:
        """Bring every run to its end: under the one recipe and tuning first, then with the tuned learning rates."""
        self._train([*_flat(self.specs), *_flat(self.tuning)])
        self._train(_flat(self._retuned()))

    def publish(self, to: Path | None = None) -> list[Report]:
        """Each experiment's report, from the runs that are done; with its tables, figures and MLflow run.

        to: the folder for tables and figures; None is mlruns/reports.
        """
        retuned = self._retuned()
        reports = []
        for name, each in self.experiments.items():
            planned = [*self.specs[name], *self.tuning.get(name, []), *retuned.get(name, [])]
            done = [outcome for spec in planned if (outcome := result_of(spec))]
            if done:
                missing = len(planned) - len(done)
                report = make_report(
                    each, done, trained=self._trained, links=links(done), missing=missing, stale=plan.stale(planned)
                )
                # A report of some variants must not take the place of one of the whole experiment.
                if each.variants and not self.request.variants and not paths.is_offline():
                    # Only now: matplotlib and MLflow take seconds to import.
                    from harness.reporting.publish import publish

                    report = publish(report, done, to)
                reports.append(report)
        return reports

    def planned(self) -> list[RunSpec]:
        """The runs that are not done: those at the tuned learning rates only where the tuning is."""
        every = [*_flat(self.specs), *_flat(self.tuning), *_flat(self._retuned())]
        return [spec for spec in every if not is_done(spec)]

    def _retuned(self) -> dict[str, list[RunSpec]]:
        """The runs at the tuned learning rates, of the experiments whose tuning is done."""
        retuned = {}
        for name, grid in self.tuning.items():
            tried = [outcome for spec in grid if (outcome := result_of(spec))]
            if len(tried) == len(grid):
                factors = best_factors(tried)
                each = self.experiments[name]
                retuned[name] = plan.retuned_specs(name, each, factors, self.dataset, self.settings, self.seeds[name])
        return retuned

    def _train(self, wanted: list[RunSpec]) -> None:
        if self.request.fresh:
            # A retuned run whose best rate is the recipe's own has been trained anew already.
            for spec in wanted:
                if spec.config.key not in self._trained:
                    forget(spec)
        request = self.request
        self._trained |= train_all(
            wanted, self.dataset, workers=request.workers, probe=request.probe, slurm=request.slurm
        )

    def preview(self) -> dict[str, Any]:
        """What `harness run --dry-run` tells: the specs, and which of them are done."""
        retuned = self._retuned()
        planned = {spec.config.key: spec for spec in [*_flat(self.specs), *_flat(self.tuning), *_flat(retuned)]}
        rows: list[dict[str, Any]] = [
            {
                "run_key": key,
                "name": spec.name,
                "phase": spec.phase,
                "done": is_done(spec),
                "images": spec.cost,
            }
            for key, spec in planned.items()
        ]
        left = sum(row["images"] for row in rows if not row["done"])
        speed = plan.usual_speed(list(planned.values()))
        return {
            "specs": rows,
            "seconds": left / speed if speed else None,
            "stale": plan.stale(list(planned.values())),
            "unknown_yet": sum(len(self.seeds[name]) * len(self.experiments[name].all_variants) for name in self.tuning)
            if not retuned
            else 0,
        }


def links(results: Sequence[RunResult]) -> dict[str, RunLink]:
    """By run key, where MLflow keeps these runs."""
    return {
        each.spec.config.key: RunLink(
            tracking.run_id(each.folder), tracking.run_url(each.folder), tracking.seconds(each.folder)
        )
        for each in results
    }


def find_data(which: str | None, *, may_fall_back: bool) -> Dataset:
    """The data to use; says so when it is not CIFAR-10."""
    dataset = load(which, allow_digits=may_fall_back)
    if dataset.name == "digits" and which != "digits":
        log.print(
            f"[bold]CIFAR-10 was not found and could not be downloaded. {how_to_get_cifar10()} This run goes on with "
            "scikit-learn's 1,797 handwritten digits, so that the machinery can be seen working: its numbers are "
            "named `digits` everywhere and are never compared with 0.86.[/]"
        )
    return dataset


def _chosen(name: str, request: Request) -> Experiment:
    """The experiment with the variants asked for, less those that the other settings make the same as one before."""
    whole = experiment.load(name)
    chosen = {v: named("variant", whole.all_variants, v) for v in request.variants if v != BASELINE}
    if not request.variants:
        chosen = whole.variants
    usual, kept = recipe_called(request.recipe), {}
    seen = {change(*usual, request.changes)}
    for variant, changes in chosen.items():
        made = change(*usual, {**changes, **request.changes})
        if made not in seen:
            kept[variant] = changes
        seen.add(made)
    left_out = ", ".join(variant for variant in chosen if variant not in kept)
    if chosen and not kept:
        raise BadInput(
            f"{name} has nothing to compare: with the recipe {request.recipe} and what --set changes, {left_out} would "
            f"be the same as the baseline. Take another recipe, or leave that --set or {name} out."
        )
    if left_out:
        log.print(f"{name} without {left_out}: the same, here, as the baseline or another variant.", soft_wrap=True)
    if kept == whole.variants:
        return whole
    return dataclasses.replace(
        whole,
        variants=kept,
        family=tuple(v for v in whole.compared if v in kept),
        predictions=tuple(p for p in whole.predictions if p.variant in kept),
        factors={},
    )


def _flat(groups: dict[str, list[RunSpec]]) -> list[RunSpec]:
    return [spec for group in groups.values() for spec in group]
