"""`harness search`: run the trials of a study, and confirm its best trials on new seeds."""

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from harness import plan
from harness.analysis.design import fixed
from harness.analysis.make_report import make_report
from harness.analysis.report import Report, SelectionBias
from harness.commands.execution import advise, check_workers, find_data, in_the_terminal, links
from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.common.lazy import lazy_import
from harness.common.signals import allowed
from harness.config import change
from harness.data import Dataset
from harness.engine.backend import ENGINES
from harness.engine.devices import resolve_precision
from harness.execute import queue_database, slurm, work_queue, worker_loop
from harness.execute.pool import accuracy_of, train_all
from harness.execute.run_one import result_of, run_one
from harness.execute.workers import start_workers
from harness.experiment import BASELINE, Experiment
from harness.plan import Settings
from harness.recipes import budget_called, named, recipe_called, save
from harness.reporting.console import log
from harness.reporting.search_progress import SearchDisplay
from harness.run_options import seeds_text
from harness.runs import declared
from harness.runs.folder import Result
from harness.runs.spec import RunSpec
from harness.search.objective import join_search
from harness.search.space import parameters_of
from harness.search.spec import load
from harness.search.study import (
    baseline_of,
    complete,
    describe_study,
    finished,
    open_search,
    plan_trials,
    planned,
    study_config_of,
    study_name,
)
from harness.tracking.recorder import Recorder

if TYPE_CHECKING:
    import optuna_dashboard

    from harness.reporting import publish, search_report
else:
    # matplotlib and plotly are slow to import.
    optuna_dashboard = lazy_import("optuna_dashboard")
    publish = lazy_import("harness.reporting.publish")
    search_report = lazy_import("harness.reporting.search_report")

#: How many trials a search has where the command does not say.
TRIALS = 50

#: How many of the best trials are confirmed.
WINNERS = 3


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options of `harness search`, as given by the user.

    trials: None is `TRIALS`, or with `confirm` those that the study has. to: the folder for tables and figures; None is
    mlruns/reports.
    """

    search: str = "search"
    trials: int | None = None
    confirm: bool = False
    to: Path | None = None
    budget: str = "quick"
    recipe: str = "fast"
    sampler: str | None = None
    pruner: str | None = None
    study: str = ""
    data: str | None = None
    engine: str = "tensorflow"
    precision: str = "auto"
    workers: int = 1
    slurm: str | None = None


class SearchJob:
    """Validated options, with their data set and their study. Raises BadInput for an invalid option."""

    def __init__(self, options: SearchOptions, recorder: Recorder) -> None:
        self.options, self.recorder = options, recorder
        if options.trials is not None and options.trials < 1:
            raise BadInput(f"--trials {options.trials} asks for no trial at all; give at least 1.")
        check_workers(options.workers)
        if recorder.offline and (options.workers > 1 or options.slurm is not None):
            raise BadInput("--offline does not go with --workers or --slurm: one process does all the work then.")
        if options.slurm is not None:
            # Before anything is queued.
            slurm.check(options.slurm)
        self.search = load(options.search, options.sampler, options.pruner)
        budget_called(options.budget)
        named("engine", dict.fromkeys(ENGINES), options.engine)
        # Check the space before the study is created: a study with an invalid space could not be used again.
        _, baseline = recipe_called(options.recipe)
        parameters_of(self.search.space, baseline)
        precision = resolve_precision(options.precision, options.engine)
        self.settings = Settings(options.budget, options.recipe, "tune", options.engine, precision)
        self.dataset: Dataset = find_data(options.data, may_fall_back=options.budget == "smoke")
        self.study_config = study_config_of(options.search, self.search, self.dataset, self.settings)
        name = study_name(self.study_config, options.study)
        if options.confirm:
            # To open a study creates it.
            with queue_database.explained():
                named("study", dict.fromkeys(work_queue.known_studies()), name)
        self.study: optuna.Study = open_search(name, self.study_config)

    @property
    def trials(self) -> int:
        """How many trials the study has, or is to have if the command asks for more."""
        usual = 0 if self.options.confirm else TRIALS
        return max(planned(self.study), self.options.trials or usual)

    def run(self) -> None:
        """Run trials until the study has as many as `--trials` asks for, those of earlier commands included."""
        advise(self.options.engine, recipe_called(self.options.recipe)[1].threads, self.options.workers)
        done = -1
        plan_trials(self.study, self.search, self.study_config, self.trials)
        self._document()
        # Repeat, because a worker on another machine may have been stopped: `plan_trials` then queues its trial again.
        while not work_queue.is_empty(self.study):
            if len(finished(self.study)) == done:
                raise HarnessError(
                    f"The workers ended before the trials did; their last words are in {paths.mlruns() / 'workers'}. "
                    f"What is done is kept, and the same command goes on from there."
                )
            done = len(finished(self.study))
            with SearchDisplay(self.study, 0 if self.recorder.offline else self.options.workers) as display:
                if self.recorder.offline:
                    self._search_here(display.update)
                else:
                    start_workers(
                        [self.study.study_name],
                        self.options.workers,
                        display.update,
                        probe=False,
                        slurm=self.options.slurm,
                    )
            plan_trials(self.study, self.search, self.study_config, self.trials)
        log.print(f"{self.study.study_name}: all {len(finished(self.study))} trials are done.")

    def _search_here(self, watch: Callable[[], None]) -> None:
        """Run the study's trials in this process. watch: called before every run."""
        execution = in_the_terminal(self.recorder, probe=False)

        def run(spec: RunSpec) -> Result:
            watch()
            with allowed():
                return run_one(spec, self.dataset, execution)

        search = join_search(self.study, self.study_config, self.dataset, run, lambda folder, trial, pruned: None)
        worker_loop.work([self.study], lambda spec: accuracy_of(run(spec)), search)

    def publish(self) -> dict[str, Any]:
        """Return the document of the study and, unless offline, publish it."""
        document = self._document()
        if not self.recorder.offline:
            publish.publish_search(document, self.study, self.options.to)
        return document

    def _document(self) -> dict[str, Any]:
        """Return the document of the study, and write its note in Optuna's dashboard."""
        document = describe_study(self.study, self.search.question) | {"command": self._command()}
        if not self.recorder.offline:
            optuna_dashboard.save_note(self.study, search_report.study_note(document))
        return document

    def confirm(self, seeds: Sequence[int]) -> Report:
        """Train the best trials' recipes and the baseline with new seeds, and compare them on the test images.

        Raises BadInput if the search is not finished, and HarnessError if there is nothing to confirm.
        """
        ended = finished(self.study)
        if len(ended) < self.trials:
            raise BadInput(
                f"{len(ended)} of {self.trials} trials are done: run the same command without --confirm first "
                f"(`{self._command()}`)."
            )
        winners = [trial for trial in complete(ended) if not trial.user_attrs.get("is_baseline")][:WINNERS]
        baseline = baseline_of(ended)
        if not winners or baseline is None:
            raise HarnessError(
                f"The study {self.study.study_name!r} cannot be confirmed: {len(complete(ended))} of its {len(ended)} "
                f"trials went to their end, and the baseline is {'one' if baseline else 'none'} of them. Give `harness "
                f"search` with more --trials, or begin another study with --study NAME."
            )
        settings = dataclasses.replace(self.settings, split="final")
        (_, base), (_, shrunk) = recipe_called(self.options.recipe), plan.shrunk_recipe(self.dataset, settings)
        experiment = Experiment(
            variants={
                f"trial {trial.number}": self.search.changes_at(base, shrunk, trial.user_attrs["recipe"])
                for trial in winners
            },
            question=f"Are the best trials of the study {self.study.study_name!r} better than the baseline?",
        )
        name = " ".join(filter(None, [self.options.search, self.options.study, "confirmed"]))
        specs = plan.run_specs(name, experiment, self.dataset, settings, list(seeds))
        question = {"experiment": name, "study": self.study.study_name, "trials": ", ".join(experiment.variants)}
        # More trials may bring other winners: which are asked about was then chosen after a look at the test images.
        exploratory = declared.contradicts(question, seeds, [len(seeds)]) or declared.is_varied(question, "trials")
        declared.declare(question, seeds, [len(seeds)])
        workers = None if self.recorder.offline else self.options.workers
        execution = in_the_terminal(self.recorder, probe=False, workers=workers, slurm=self.options.slurm)
        trained = train_all(specs, self.dataset, execution)
        done = [outcome for spec in specs if (outcome := result_of(spec))]
        report = make_report(
            experiment,
            done,
            fixed(seeds, exploratory=exploratory),
            trained=trained,
            links=links(done, self.recorder),
            missing=len(specs) - len(done),
            stale=plan.stale(specs),
            command=self._command("--confirm", "--seeds", seeds_text(list(seeds))),
        )
        gains = {f"trial {t.number}": (t.value or 0.0) - (baseline.value or 0.0) for t in winners}
        report = dataclasses.replace(report, selection_bias=_selection_bias(report, gains))
        if not self.recorder.offline:
            report = publish.publish(report, done, self.options.to, self.dataset)
        return report

    def save(self, name: str, report: Report) -> Path:
        """Save the best recipe of a confirmation under a name. Raises HarnessError if none is better."""
        better = [
            (row, compared)
            for row in report.variants
            if (compared := row.against_baseline) and compared.verdict == "better"
        ]
        if not better:
            raise HarnessError(
                f"No trial was confirmed as better than the {BASELINE}, so nothing is saved as {name!r}. Another study "
                f"(--study NAME) may find one: confirm it with more seeds at once."
            )
        best, compared = max(better, key=lambda pair: pair[0].accuracy.mean if pair[0].accuracy else 0.0)
        trial = next(trial for trial in finished(self.study) if f"trial {trial.number}" == best.variant)
        network, recipe = change(*recipe_called(self.options.recipe), trial.user_attrs["recipe"])
        origin = {
            "study": self.study.study_name,
            "trial": trial.number,
            "confirmed_difference": compared.mean,
            "interval": compared.interval,
            "seeds": len(best.seeds),
            "budget": self.options.budget,
            "data": report.data,
        }
        return save(name, network, recipe, origin)

    def _command(self, *more: str) -> str:
        options = {
            "trials": self.trials,
            "budget": self.options.budget,
            "recipe": self.options.recipe,
            "sampler": self.search.sampler,
            "pruner": self.search.pruner,
            "study": self.options.study,
            "data": self.options.data,
            "engine": self.options.engine,
            "precision": self.settings.precision,
            "to": self.options.to,
        }
        words = [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
        return shlex.join(["harness", "search", self.options.search, *words, *more])


def _selection_bias(report: Report, searched: dict[str, float]) -> tuple[SelectionBias, ...]:
    """Return each winner's gain over the baseline in the search, and what remains of it with new seeds."""
    confirmed = {row.variant: row.against_baseline for row in report.variants}
    return tuple(
        SelectionBias(variant, gain, compared.mean, compared.interval, gain - compared.mean)
        for variant, gain in searched.items()
        if (compared := confirmed.get(variant))
    )
