"""`harness run`: train the runs that the options ask for, and make the report of each experiment."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from harness import plan
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.commands.execution import TERMINAL, advise, in_the_terminal, links
from harness.commands.planner import Planner
from harness.common.lazy import lazy_import
from harness.execute.pool import train_all
from harness.execute.run_one import Displays, forget
from harness.run_options import RunOptions
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.champion import crown
from harness.tracking.recorder import Recorder

if TYPE_CHECKING:
    from harness.reporting import publish
else:
    # matplotlib is slow to import.
    publish = lazy_import("harness.reporting.publish")


class Job(Planner):
    """The runs that options ask for, trained and reported."""

    def __init__(self, options: RunOptions, recorder: Recorder, most_looks: int | None = None) -> None:
        super().__init__(options, recorder, most_looks)
        self._trained: set[str] = set()

    def train(self, displays: Displays = TERMINAL) -> None:
        """Train all runs to their end, look by look, and the retuned ones after the tuning."""
        wanted = self.wanted()
        advise(self.options.engine, wanted[0].config.recipe.threads, len(wanted))
        self.declare()
        while todo := [spec for spec in wanted if not self._is_trained(spec)]:
            self._train(todo, displays)
            wanted = self.wanted()

    def _is_trained(self, spec: RunSpec) -> bool:
        forgotten = self.options.fresh and spec.config.key not in self._trained
        return not forgotten and self.is_done(spec)

    def _train(self, wanted: list[RunSpec], displays: Displays) -> None:
        options = self.options
        if options.fresh:
            # If the best learning rate is the recipe's own, the retuned run is one that this command has just trained.
            for spec in wanted:
                if spec.config.key not in self._trained:
                    forget(spec, self.recorder)
        execution = in_the_terminal(
            self.recorder, probe=options.probe, workers=options.workers, slurm=options.slurm, displays=displays
        )
        self._trained |= train_all(wanted, self.dataset, execution)

    def publish(self, to: Path | None = None) -> list[Report]:
        """Return each experiment's report, from the runs that are done, and publish it: tables, figures, MLflow run.

        to: the folder for tables and figures; None is mlruns/reports.
        """
        return [report for report, _ in self.published(to)]

    def published(self, to: Path | None) -> list[tuple[Report, list[RunResult]]]:
        """Publish as `publish` does; return each report with the runs that it is made of."""
        specs, tuning = self.specs, self.tuning
        retuned, reports = self.retuned(tuning), []
        for name, each in self.experiments.items():
            planned = [*specs[name], *tuning.get(name, []), *retuned.get(name, [])]
            done = [outcome for spec in planned if (outcome := self.result_of(spec))]
            if done:
                report = make_report(
                    each,
                    done,
                    self.designs[name],
                    labels=plan.images_of(planned[0].config, self.dataset).eval_labels,
                    trained=self._trained,
                    links=links(done, self.recorder),
                    missing=len(planned) - len(done),
                    stale=plan.stale(planned),
                    command=self._command(name),
                )
                # A report of only some variants must not replace the report of the whole experiment.
                if each.variants and not self.options.variants and not self.recorder.offline:
                    report = publish.publish(report, done, to, self.dataset)
                reports.append((report, done))
        if not self.recorder.offline:
            crown()
        return reports

    def _command(self, name: str) -> str:
        """Return the command of an experiment's report, empty where the report can tell it by itself.

        It cannot where looks were named: what is decided lacks the seeds that are still to come.
        """
        if not self.options.looks:
            return ""
        return dataclasses.replace(self.options, experiments=(name,), precision=self.settings.precision).command
