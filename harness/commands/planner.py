"""What the options of a command ask for: experiments, designs, and the runs that the results so far call for."""

import dataclasses
from collections.abc import Mapping, Set
from typing import Any, cast, get_args

from harness import experiment, plan
from harness.analysis.design import Design, fixed
from harness.analysis.make_report import called_for
from harness.analysis.tuning import Tried, next_runs, ranked, tried_by_variant, unclear
from harness.commands.execution import check_workers, find_data
from harness.common.errors import BadInput
from harness.config import SplitName, changes_text
from harness.engine.backend import ENGINES
from harness.engine.devices import resolve_precision
from harness.execute.run_one import is_done, result_of
from harness.experiment import BASELINE, Experiment
from harness.plan import Settings
from harness.recipes import budget_called, named, recipe_called
from harness.reporting.console import log
from harness.run_options import RunOptions, parse_looks, parse_seeds
from harness.runs import declared
from harness.runs.folder import Damaged
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.recorder import Recorder


class Planner:
    """Validated options, with the data set, the designs and the runs that they ask for.

    most_looks: after how many looks of a design to end, if before the last one. elsewhere: set later, runs by run key
    that count as done though they are not in the run folders. Raises BadInput for an invalid option.
    """

    def __init__(self, options: RunOptions, recorder: Recorder, most_looks: int | None = None) -> None:
        self.options, self.recorder, self.most_looks = options, recorder, most_looks
        self.elsewhere: Mapping[str, RunResult] = {}
        # Check the options first: an error in the command should be reported before data are searched or downloaded.
        self.experiments = {name: _chosen(name, options) for name in options.experiments}
        budget_called(options.budget)
        named("engine", dict.fromkeys(ENGINES), options.engine)
        self.designs = {name: design_of(each, options) for name, each in self.experiments.items()}
        if options.split not in get_args(SplitName):
            raise BadInput(f"Invalid value --split {options.split}: it is {' or '.join(get_args(SplitName))}.")
        check_workers(options.workers)
        precision = resolve_precision(options.precision, options.engine)
        one_baseline = list(self.designs) == [BASELINE] and self.designs[BASELINE].seeds == (0,)
        may_fall_back = options.budget == "smoke" or (one_baseline and options.recipe == "fast")
        self.dataset = find_data(options.data, may_fall_back=may_fall_back)
        split = cast(SplitName, options.split)
        self.settings = Settings(options.budget, options.recipe, split, options.engine, precision, options.changes)
        for name, design in self.designs.items():
            exploratory = declared.contradicts(self._question(name), design.seeds, design.looks)
            self.designs[name] = dataclasses.replace(design, exploratory=exploratory)
        self._retunes = options.budget != "smoke" if options.retune is None else options.retune

    @property
    def specs(self) -> dict[str, list[RunSpec]]:
        """The runs under the same recipe that the designs ask for, as far as the results so far tell."""
        return {
            name: self._asked_for(
                name, plan.run_specs(name, each, self.dataset, self.settings, list(self.designs[name].seeds))
            )
            for name, each in self.experiments.items()
        }

    @property
    def tuning(self) -> dict[str, list[RunSpec]]:
        """The runs of the tuning: those that are done, and those that they call for next."""
        return {
            name: [spec for variant in each.all_variants for spec in self._tuning_of(name, variant)]
            for name, each in self.experiments.items()
            if self._retunes and each.variants
        }

    def _tuning_of(self, name: str, variant: str) -> list[RunSpec]:
        changes = self.experiments[name].all_variants[variant]
        specs: list[RunSpec] = []
        tried: Tried = {}
        while wanted := next_runs(tried):
            specs += [
                plan.tuning_spec(name, variant, changes, self.dataset, self.settings, factor, seed)
                for factor, seed in wanted
            ]
            done = [outcome for spec in specs if (outcome := self._result_so_far(spec))]
            if len(done) < len(specs):
                break
            tried = tried_by_variant(done)[variant]
        return specs

    def declare(self) -> None:
        """Keep the designs of these experiments, before their first run."""
        for name, design in self.designs.items():
            declared.declare(self._question(name), design.seeds, design.looks)

    def planned(self) -> list[RunSpec]:
        """Return the runs that are not done.

        The retuned runs are included only if the tuning is done, and those of a look only if the earlier looks are.
        """
        return [spec for spec in self.wanted() if not self.is_done(spec)]

    def wanted(self) -> list[RunSpec]:
        """Return the runs that the designs ask for, done or not, of all phases, as far as the results so far tell."""
        tuning = self.tuning
        return [*_flat(self.specs), *_flat(tuning), *_flat(self.retuned(tuning))]

    def is_done(self, spec: RunSpec) -> bool:
        """Whether a run has ended, with all that is kept of it, here or elsewhere."""
        return spec.config.key in self.elsewhere or is_done(spec, self.recorder)

    def result_of(self, spec: RunSpec) -> RunResult | None:
        """Return the result of a run, None if it has not ended. Raises Damaged for a file that cannot be read."""
        if known := self.elsewhere.get(spec.config.key):
            return dataclasses.replace(known, spec=spec)
        return result_of(spec)

    def _result_so_far(self, spec: RunSpec) -> RunResult | None:
        """As `result_of`, for what is to be trained: a run with a damaged file is to be mended, or trained again."""
        try:
            return self.result_of(spec)
        except Damaged:
            return None

    def _question(self, name: str) -> dict[str, str]:
        """Return what a design is declared for: the experiment, and the settings that all its runs share."""
        settings = self.settings
        changes = changes_text(settings.changes)
        return {
            "experiment": name,
            **{field: str(getattr(settings, field)) for field in ("budget", "recipe", "split", "engine", "precision")},
            "changes": changes,
            "data": self.dataset.fingerprint,
        }

    def _asked_for(self, name: str, every: list[RunSpec], unclear: Set[str] = frozenset()) -> list[RunSpec]:
        """Return the runs of one phase up to the next look of the design: of all variants, then of the undecided.

        unclear: the variants without a verdict, because their learning rate is not clear.
        """
        # Retuned runs that are those of the same recipe too are judged there, and need no further seeds here.
        alike = [
            dataclasses.replace(spec, phase="same recipe")
            for spec in every
            if (spec.phase, spec.factor) == ("retuned", 1.0)
        ]
        own = {(spec.variant, spec.config.seed): spec for spec in every}
        asked = called_for(
            self.experiments[name],
            every[0].phase,
            lambda which: self._result_so_far(own[which]),
            self.designs[name],
            elsewhere=[outcome for spec in alike if (outcome := self._result_so_far(spec))],
            unclear=unclear,
            most_looks=self.most_looks,
        )
        return [spec for spec in every if (spec.variant, spec.config.seed) in asked]

    def retuned(self, tuning: dict[str, list[RunSpec]]) -> dict[str, list[RunSpec]]:
        """Return the runs with the tuned learning rates, for the experiments whose tuning (`self.tuning`) is done."""
        retuned = {}
        for name, grid in tuning.items():
            done = [outcome for spec in grid if (outcome := self._result_so_far(spec))]
            if len(done) == len(grid):
                tried, each = tried_by_variant(done), self.experiments[name]
                factors = {variant: ranked(found)[0] for variant, found in tried.items()}
                seeds = list(self.designs[name].seeds)
                every = plan.retuned_specs(name, each, factors, self.dataset, self.settings, seeds)
                retuned[name] = self._asked_for(name, every, unclear(tried))
        return retuned

    def preview(self) -> dict[str, Any]:
        """Return the document of `harness run --dry-run`: the runs, and which of them are done."""
        planned = {spec.config.key: spec for spec in self.wanted()}
        rows: list[dict[str, Any]] = [
            {
                "run_key": key,
                "name": spec.name,
                "phase": spec.phase,
                "done": self.is_done(spec) and not self.options.fresh,
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
            "unknown_yet": self._unknown_yet(),
        }

    def _unknown_yet(self) -> int:
        """Return how many runs more there may be: those of later looks, and the retuned ones while tuning goes on."""
        specs, tuning = self.specs, self.tuning
        retuned, unknown = self.retuned(tuning), 0
        for name, each in self.experiments.items():
            phases = [specs[name], retuned.get(name, [])] if name in tuning else [specs[name]]
            for asked in phases:
                going = (
                    {spec.variant for spec in asked if not self._result_so_far(spec)}
                    if asked
                    else set(each.all_variants)
                )
                left = len(self.designs[name].seeds) - len({spec.config.seed for spec in asked})
                unknown += left * len(going)
        return unknown


def design_of(experiment: Experiment, options: RunOptions) -> Design:
    """Return the design that `--seeds` and `--looks` fix, or else the looks of the experiment."""
    if options.looks is not None:
        looks = parse_looks(options.looks)
        seeds = parse_seeds(options.seeds or str(looks[-1]))
        if len(seeds) != looks[-1]:
            raise BadInput(f"Invalid value --looks {options.looks}: the last look is after all {len(seeds)} --seeds.")
        if not experiment.variants:
            raise BadInput(
                f"--looks {options.looks} is for variants; here there are none to decide: give --seeds alone."
            )
        return Design(tuple(seeds), looks)
    if options.seeds:
        return fixed(parse_seeds(options.seeds))
    most = budget_called(options.budget).most_seeds
    looks = (most,) if most else experiment.looks
    return Design(tuple(range(looks[-1])), looks)


def _chosen(name: str, options: RunOptions) -> Experiment:
    """Return the experiment with the chosen variants.

    Variants that are equal to another one under this recipe and `--set` are left out. Raises BadInput if none is left.
    """
    whole = experiment.load(name).under(options.recipe)
    chosen = {v: named("variant", whole.all_variants, v) for v in options.variants if v != BASELINE}
    if not options.variants:
        chosen = whole.variants
    alike = experiment.distinct({BASELINE: {}, **chosen}, *recipe_called(options.recipe), options.changes)
    kept = [variant for variant in alike.values() if variant != BASELINE]
    left_out = ", ".join(variant for variant in chosen if variant not in kept)
    if chosen and not kept:
        raise BadInput(
            f"{name} has nothing to compare: with the recipe {options.recipe} and what --set changes, {left_out} would "
            f"be the same as the baseline. A --set counts for every variant, whatever the variant itself changes. Take "
            f"another recipe, or leave that --set or {name} out."
        )
    if left_out:
        log.print(f"{name} without {left_out}: the same, here, as the baseline or another variant.")
    return whole.only(kept)


def _flat(groups: dict[str, list[RunSpec]]) -> list[RunSpec]:
    return [spec for group in groups.values() for spec in group]
