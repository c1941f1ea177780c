"""`harness run`, `compare`, `new`: experiments and what comes of them."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    Data,
    Engine,
    Json,
    Offline,
    Precision,
    Setting,
    Slurm,
    app,
    name_and_value,
    show,
    show_reports,
)
from harness.common import paths
from harness.common.errors import BadInput
from harness.reporting.console import log, print_runs


@app.command()
def run(
    context: typer.Context,
    experiments: Annotated[list[str] | None, typer.Argument(help="Files of experiments/, without the .py.")] = None,
    budget: Annotated[str, typer.Option(help="`smoke` (seconds), `quick` (minutes) or `full` (everything).")] = "full",
    seeds: Annotated[
        str | None,
        typer.Option(help="How many (`10`: seeds 0-9) or which (`0,4,7`); default: what the experiment asks for."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="`fast`, or `published`, the notebook's 200 epochs.")] = "fast",
    split: Annotated[
        str,
        typer.Option(help="`final`: train 50,000, test 10,000. `tune`: train 45,000, judge on the other 5,000."),
    ] = "final",
    variant: Annotated[list[str] | None, typer.Option(help="Only this one beside the baseline; may repeat.")] = None,
    setting: Setting = None,
    data: Data = None,
    engine: Engine = "tensorflow",
    precision: Precision = "auto",
    retune: Annotated[
        bool | None,
        typer.Option(help="Also run each variant with a learning rate of its own; default: yes, but not at `smoke`."),
    ] = None,
    probe: Annotated[bool, typer.Option(help="Look inside the network after every epoch.")] = True,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train; default: one, or one per core for many specs.")
    ] = None,
    slurm: Slurm = None,
    specs: Annotated[
        Path | None, typer.Option(help="Instead of experiments: the list that `harness plan` wrote.")
    ] = None,
    offline: Offline = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done and start over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the specs, which are done, and how long.")] = False,
    json: Json = False,
) -> None:
    """Train an experiment's specs, or go on with them, and show the result.

    The same command goes on where it was stopped, and shows the result when there is nothing left to train.

    ```
    harness run baseline
    harness run baseline --seeds 10
    harness run baseline --split tune --set learning_rate=0.05 --set dropout=0,0.1,0.2,0.3
    harness run ablate_bn --budget quick --dry-run
    harness run ablate_bn ablate_order --budget quick --workers 2
    harness run ablate_activation --variant sigmoid --no-retune
    harness run ablate_bn --engine jax --offline bundles
    harness run --specs specs.json --offline bundles
    ```
    """
    if offline:
        # For all of this process: there is no other place for runs then.
        paths.go_offline(offline)
    if bool(experiments) == bool(specs):
        raise BadInput("Give either experiments (`harness run ablate_bn`) or their list (`--specs specs.json`).")
    if specs:
        _refuse_all_but(context, "--specs", "--offline", "--workers", "--slurm", "--probe", "--json")
        from harness.commands.spec_list import train

        document = train(specs, workers=workers, probe=probe, slurm=slurm)
        show(document, json, print_runs)
        if any(run["status"] == "diverged" for run in document["runs"]):
            raise typer.Exit(1)
        return
    from harness.commands.run import Job, Request

    changes = dict(name_and_value(text) for text in setting or [])
    request = Request(
        experiments or [], budget, recipe, seeds, split, variant or [], data, engine, precision, changes, retune, probe,
        workers, slurm, fresh,
    )  # fmt: skip
    job = Job(request)
    if dry_run:
        from harness.reporting.console import preview

        show(job.preview(), json, preview)
        return
    try:
        job.train()
    except KeyboardInterrupt:
        log.print("Stopped. Finished epochs are kept: the same command (without --fresh) goes on from there.")
        raise
    reports = job.publish()
    show_reports(reports, json)
    if any(run.status == "diverged" for report in reports for run in report.runs):
        raise typer.Exit(1)


def _refuse_all_but(context: typer.Context, *allowed: str) -> None:
    """Raises BadInput for an option that was given and says nothing beside a list of specs."""
    sources = {option.opts[0]: context.get_parameter_source(option.name) for option in context.command.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    idle = [name for name in given if name not in allowed]
    if idle:
        raise BadInput(f"{idle[0]} does not go with --specs: the list says what each run is. Plan it anew.")


@app.command()
def compare(
    what: Annotated[list[str], typer.Argument(help="Experiments, or runs by their keys (or the first few digits).")],
    budget: Annotated[str, typer.Option(help="Of experiments: `smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="Of experiments: `fast` or `published`.")] = "fast",
    split: Annotated[str, typer.Option(help="Of experiments: `final` or `tune`.")] = "final",
    setting: Setting = None,
    retune: Annotated[bool | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    engine: Engine = "tensorflow",
    precision: Precision = "auto",
    data: Data = None,
    to: Annotated[Path | None, typer.Option(help="Where to write tables and figures; default: mlruns/reports.")] = None,
    json: Json = False,
) -> None:
    """Compare what is stored: an experiment's specs, or any runs. Trains nothing.

    Runs that differ in their seed alone are one variant; the first run's variant is the one to compare with. Runs on
    different data, budgets or splits are never compared.

    ```
    harness compare ablate_bn --budget quick
    harness compare 492363e0 a994170c
    ```
    """
    from harness.commands import compare as comparison
    from harness.commands.run import Request

    changes = dict(name_and_value(text) for text in setting or [])
    request = Request(what, budget, recipe, seeds, split, (), data, engine, precision, changes, retune)
    show_reports(comparison.compare(request, to), json)


@app.command()
def new(name: Annotated[str, typer.Argument(help="A Python name, as in `ablate_pooling`.")]) -> None:
    """Write the skeleton of an experiment to experiments/NAME.py, to be filled in.

    ```
    harness new ablate_pooling
    ```
    """
    from harness.commands.new import write

    log.print(f"{write(name)} is written. Say what you predict, name the variants, and: harness run {name}")
