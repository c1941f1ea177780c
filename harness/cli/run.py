"""`harness run`, `compare`, `report`, `new`, `plan`, `sync`: experiments, here and on machines without MLflow."""

import dataclasses
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    Data,
    Details,
    Engine,
    Json,
    Offline,
    Precision,
    Setting,
    Slurm,
    changes_of,
    given,
    show,
    show_reports,
)
from harness.commands.execution import choose_recorder, in_the_terminal
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.experiment import has_file, names, write_skeleton
from harness.reporting.console import log, preview, print_line, print_runs
from harness.run_options import RunOptions

if TYPE_CHECKING:
    from harness.commands import compare as comparison
    from harness.commands import compare_any, spec_list
    from harness.commands import detect as commands_detect
    from harness.commands import planner as commands_planner
    from harness.commands import run as commands_run
    from harness.commands import sync as commands_sync
    from harness.reporting import any_runs
else:
    any_runs = lazy_import("harness.reporting.any_runs")
    compare_any = lazy_import("harness.commands.compare_any")
    commands_detect = lazy_import("harness.commands.detect")
    comparison = lazy_import("harness.commands.compare")
    commands_planner = lazy_import("harness.commands.planner")
    commands_run = lazy_import("harness.commands.run")
    spec_list = lazy_import("harness.commands.spec_list")
    commands_sync = lazy_import("harness.commands.sync")


def run(
    context: typer.Context,
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Files of experiments/, without the .py.", autocompletion=names)
    ] = None,
    budget: Annotated[
        str,
        typer.Option(help="`smoke` (seconds), `quick` (minutes), `full` (everything); `quick:500`: with 500 images."),
    ] = "full",
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many (`10`: seeds 0-9) or which (`0,4,7`); default: up to 10, looking after 4 and 7; of "
            "`baseline`, and at `smoke`, one."
        ),
    ] = None,
    looks: Annotated[
        str | None,
        typer.Option(
            help="After how many seeds to look (`4,7,10`); what is decided is not trained further. Default with "
            "`--seeds`: once, at the end."
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="`fast`, `classic` (SGD instead of Muon) or `published` (200 epochs).")
    ] = "fast",
    split: Annotated[
        str,
        typer.Option(help="`final`: train 50,000, test 10,000. `tune`: train 45,000, judge on the other 5,000."),
    ] = "final",
    variant: Annotated[list[str] | None, typer.Option(help="Only this one beside the baseline; may repeat.")] = None,
    setting: Setting = None,
    data: Data = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    retune: Annotated[
        bool | None,
        typer.Option(help="Also run each variant with a learning rate of its own; default: yes, but not at `smoke`."),
    ] = None,
    probe: Annotated[bool, typer.Option(help="Look inside the network after every epoch.")] = True,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that train; default: one for every two cores, for many runs one per core; one a GPU."
        ),
    ] = None,
    slurm: Slurm = None,
    specs: Annotated[
        Path | None, typer.Option(help="Instead of experiments: the list of runs that `harness plan` wrote.")
    ] = None,
    cells: Annotated[Path | None, typer.Option(hidden=True, help="The former name of `--specs`.")] = None,
    offline: Offline = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done and start over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the runs, which are done, and how long.")] = False,
    details: Details = False,
    json: Json = False,
) -> None:
    """Train the runs of experiments, and show the results.

    The same command goes on where it was stopped. When there is nothing left to train, it shows the results.

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
    recorder = choose_recorder(offline)
    specs = specs or cells
    if bool(experiments) == bool(specs):
        raise BadInput("Give either experiments (`harness run ablate_bn`) or a list of runs (`--specs specs.json`).")
    if specs:
        kept = {"--specs", "--cells", "--offline", "--workers", "--slurm", "--probe", "--json"}
        idle = {option.opts[0] for option in context.command.params} - kept
        _refuse(context, idle, "does not go with --specs: the list says what each run is. Plan the list anew.")

        execution = in_the_terminal(recorder, probe=probe, workers=workers, slurm=slurm)
        document = spec_list.train(specs, execution)
        show(document, json, print_runs)
        return

    options = RunOptions(
        experiments=experiments or [],
        budget=budget,
        recipe=recipe,
        seeds=seeds,
        looks=looks,
        split=split,
        variants=variant or [],
        data=data,
        engine=engine,
        precision=precision,
        changes=changes_of(setting),
        retune=retune,
        probe=probe,
        workers=workers,
        slurm=slurm,
        fresh=fresh,
    )
    job = commands_run.Job(options, recorder)
    if dry_run:
        show(job.preview(), json, preview)
        return
    try:
        job.train()
    except KeyboardInterrupt:
        log.print("Stopped. Finished epochs are kept: the same command (without --fresh) goes on from there.")
        raise
    reports = job.publish()
    show_reports(reports, json, details=details)


def _refuse(context: typer.Context, idle: Collection[str], why: str) -> None:
    """Raise BadInput for the first of some options that was given, by its long name: it would have no effect."""
    for name in given(context):
        if name in idle:
            raise BadInput(f"{name} {why}")


#: Options of `harness compare`: of the runs that this program trains, and of anybody's.
OF_EXPERIMENTS = {"--budget", "--seeds", "--looks", "--recipe", "--split", "--set", "--retune", "--precision", "--data"}
OF_ANYBODYS = {"--experiment", "--group-by", "--baseline", "--metric", "--block", "--lower-is-better", "--log"}


def compare(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Experiments, or runs by their keys (or the first few digits).", autocompletion=names),
    ] = None,
    budget: Annotated[str, typer.Option(help="Of experiments: `smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    looks: Annotated[str | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="Of experiments: `fast`, `classic` or `published`.")] = "fast",
    split: Annotated[str, typer.Option(help="Of experiments: `final` or `tune`.")] = "final",
    setting: Setting = None,
    retune: Annotated[bool | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    data: Data = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Anybody's runs: a CSV file, a row a run.")] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="Anybody's runs: those of an MLflow.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Of --mlflow: its name.")] = None,
    group_by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of --csv, --mlflow: what differs.")] = None,
    baseline: Annotated[str | None, typer.Option(metavar="VALUE", help="Of --group-by: what others meet.")] = None,
    metric: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of --csv, --mlflow: what is compared.")] = None,
    block: Annotated[str | None, typer.Option(metavar="COLUMN", help="What pairs runs, as `seed` does.")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="Of --metric, as of a loss.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Of --mlflow: log the answer there, as a run.")] = False,
    to: Annotated[Path | None, typer.Option(help="Where to write tables and figures; default: mlruns/reports.")] = None,
    details: Details = False,
    json: Json = False,
) -> None:
    """Compare finished runs: those of experiments, or any others. Trains nothing.

    Runs that differ only in their seed are one variant, and all others are compared with the first one given. Runs on
    different data, budgets or splits are refused.

    ```
    harness compare ablate_bn --budget quick
    harness compare 492363e0 a994170c
    harness compare --csv runs.csv --group-by optimizer --baseline sgd --metric accuracy --block seed
    harness compare --mlflow http://127.0.0.1:5000 --experiment mine --group-by lr --baseline 0.1 --metric val_loss \\
        --lower-is-better
    ```
    """
    if csv or mlflow:
        _refuse(context, OF_EXPERIMENTS | {"--engine", "--details"}, "is of experiments, and not of anybody's runs.")
        anybody = compare_any.AnyOptions(
            csv=csv,
            mlflow=mlflow,
            experiment=experiment,
            group_by=group_by,
            baseline=baseline,
            metric=metric,
            block=block,
            lower_is_better=lower_is_better,
            log=log,
        ).checked()
        if what:
            raise BadInput(f"{what[0]} does not go with {'--csv' if csv else '--mlflow'}: compare one or the other.")
        asked, compared, written = compare_any.compare_any(anybody, to)
        document = {"asked": dataclasses.asdict(asked), **dataclasses.asdict(compared)}
        show(document, json, lambda _: any_runs.print_comparison(asked, compared, written))
        return
    _refuse(context, OF_ANYBODYS, "needs --csv or --mlflow: it is of anybody's runs.")
    if not what:
        raise BadInput("Say what to compare: experiments, runs by their keys, or --csv or --mlflow.")
    if not any(map(has_file, what)):
        _refuse(context, OF_EXPERIMENTS, "is of experiments: a run is what its key says.")
    options = RunOptions(
        experiments=what,
        budget=budget,
        recipe=recipe,
        seeds=seeds,
        looks=looks,
        split=split,
        data=data,
        engine=engine,
        precision=precision,
        changes=changes_of(setting),
        retune=retune,
    )
    show_reports(comparison.compare(options, choose_recorder(None), to), json, details=details)


def report(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Files of experiments/; default: all.", autocompletion=names)
    ] = None,
    budget: Annotated[str, typer.Option(help="`smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="As in `harness run`.")] = None,
    looks: Annotated[str | None, typer.Option(help="As in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="`fast`, `classic` or `published`.")] = "fast",
    engine: Engine = "auto",
    precision: Precision = "auto",
    data: Data = None,
    to: Annotated[Path | None, typer.Option(help="Where to write; default: mlruns/reports.")] = None,
) -> None:
    """Write one HTML page of all finished runs, to send around: questions, answers, figures, numbers. Trains nothing.

    Each experiment also has a page of its own, `report.html` in its folder. Such a page needs no other file.

    ```
    harness report
    harness report ablate_bn ablate_order --budget quick
    ```
    """
    options = RunOptions(
        experiments=experiments or names(),
        budget=budget,
        seeds=seeds,
        looks=looks,
        recipe=recipe,
        data=data,
        engine=engine,
        precision=precision,
    )
    print_line(str(comparison.one_page(options, choose_recorder(None), to)))


def new(name: Annotated[str, typer.Argument(help="A Python name, as in `ablate_initializer`.")]) -> None:
    """Write experiments/NAME.py, an experiment that runs as it is, to be filled in.

    ```
    harness new ablate_initializer
    ```
    """
    file = write_skeleton(name)
    log.print(f"{file} is written. Say in it what you predict, name the variants, and: harness run {name}")


def plan(
    experiments: Annotated[list[str], typer.Argument(help="Files of experiments/, without the .py.")],
    out: Annotated[Path, typer.Option(help="Where to write the list.")] = Path("specs.json"),
    budget: Annotated[str, typer.Option(help="`smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="As in `harness run`.")] = None,
    looks: Annotated[str | None, typer.Option(help="As in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="`fast`, `classic` or `published`.")] = "fast",
    split: Annotated[str, typer.Option(help="`final` or `tune`.")] = "final",
    setting: Setting = None,
    data: Data = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    retune: Annotated[bool | None, typer.Option(help="As in `harness run`.")] = None,
    detect: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Instead: what an effect of this size would need here.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a list of the runs that are still to be trained, for a machine without MLflow.

    `--precision auto` is what is fast on this machine: for a GPU elsewhere, name the precision. The runs at retuned
    learning rates are only known after the tuning: sync its bundles, and plan again.

    ```
    harness plan ablate_bn --detect 0.5                       # seeds, hours and PFLOP; writes nothing
    harness plan ablate_bn ablate_order --budget quick --out specs.json
    harness plan baseline --seeds 10 --engine jax --precision bfloat16
    harness run --specs specs.json --offline bundles          # there
    harness sync bundles                                      # here
    ```
    """
    options = RunOptions(
        experiments=experiments,
        budget=budget,
        recipe=recipe,
        seeds=seeds,
        looks=looks,
        split=split,
        data=data,
        engine=engine,
        precision=precision,
        changes=changes_of(setting),
        retune=retune,
    )
    planner = commands_planner.Planner(options, choose_recorder(None))
    if detect is not None:
        show(commands_detect.detect(planner, detect), json, commands_detect.print_detect)
        return
    planner.declare()
    count = spec_list.write(out, planner.planned())
    train = shlex.join(["harness", "run", "--specs", str(out), "--offline", "DIR"])
    then = f"Train them with `{train}`." if count else "All of them are done here."
    log.print(f"{out}: {count} runs. {then}")


def sync(
    directory: Annotated[Path, typer.Argument(help="What `harness run --offline` has written.")],
    json: Json = False,
) -> None:
    """Import the bundles of another machine, runs and searches: here they are done then, and MLflow shows them.

    What was imported before is left alone. A bundle that is damaged, or made by other code or data, is refused.

    ```
    harness sync bundles
    harness sync bundles --json | jq '.bundles[] | select(.status == "refused")'
    ```
    """
    document = commands_sync.sync(directory)
    show(document, json, commands_sync.print_sync)
    if any(row["status"] == "refused" for row in [*document["bundles"], *document["searches"]]):
        raise typer.Exit(1)
