"""`harness search`, `anytime`, `worker`: searches for a better recipe, and the workers that train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Data, Details, Engine, Json, Offline, Precision, Slurm, show, show_reports
from harness.commands.execution import choose_recorder
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.recipes import new_name
from harness.reporting.console import log
from harness.run_options import parse_seeds

if TYPE_CHECKING:
    from harness.commands import search as commands_search
    from harness.commands import worker as commands_worker
    from harness.execute import queue_database
    from harness.reporting import publish, search_report
else:
    commands_search = lazy_import("harness.commands.search")
    commands_worker = lazy_import("harness.commands.worker")
    queue_database = lazy_import("harness.execute.queue_database")
    publish = lazy_import("harness.reporting.publish")
    search_report = lazy_import("harness.reporting.search_report")


def search(
    search: Annotated[str, typer.Argument(help="A search file of experiments/, without the .py.")] = "search",
    trials: Annotated[
        int | None,
        typer.Option(
            help="How many trials in all, with those that are done; default: 50, with `--confirm` those there are."
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="`smoke` (seconds a trial), `quick` or `full`.")] = "quick",
    workers: Annotated[int, typer.Option(help="Processes that train; one GPU each where there are several.")] = 1,
    sampler: Annotated[str | None, typer.Option(help="`tpe` or `random`; default: the file's.")] = None,
    pruner: Annotated[str | None, typer.Option(help="`halving`, `median` or `none`; default: the file's.")] = None,
    study: Annotated[str, typer.Option(help="A name, for a study beside the usual one.")] = "",
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm",
            help="When all trials are done: run the best three and the baseline on fresh seeds, on the test images.",
        ),
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="Of the confirmation: how many, or which; default: 10.")] = None,
    save: Annotated[str | None, typer.Option(metavar="NAME", help="Save the confirmed best as a recipe.")] = None,
    to: Annotated[Path | None, typer.Option(help="Where tables and figures go; default: mlruns/reports.")] = None,
    recipe: Annotated[str, typer.Option(help="The baseline, which the search must beat.")] = "fast",
    slurm: Slurm = None,
    offline: Offline = None,
    data: Data = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    details: Details = False,
    json: Json = False,
) -> None:
    """Search for a better recipe by validation accuracy, then confirm the winners on fresh seeds.

    The same command goes on where it was stopped; `--trials` may grow. Watch with `harness dashboard`.

    ```
    harness search --trials 50 --workers 2
    harness search --trials 50 --confirm
    harness search --trials 50 --confirm --save better && make baseline RECIPE=better
    harness search --sampler random --pruner none --study random
    harness search --trials 200 --workers 8 --slurm time=240,partition=gpu,gpus_per_node=1
    harness search --trials 100 --budget full --engine jax --offline bundles
    ```
    """
    recorder = choose_recorder(offline)
    fresh_seeds = parse_seeds("10" if seeds is None else seeds)
    if offline and to:
        raise BadInput("--to does not go with --offline: tables and figures are made where `harness sync` imports.")
    if save and not confirm:
        raise BadInput(f"--save {save} goes with --confirm: only a confirmed recipe is saved.")
    if seeds is not None and not confirm:
        raise BadInput(f"--seeds {seeds} goes with --confirm: all trials of a search have one seed, which is fixed.")
    if details and not confirm:
        raise BadInput("--details goes with --confirm: a search has no more tables than it shows.")
    if save:
        new_name(save)
    options = commands_search.SearchOptions(
        search=search,
        trials=trials,
        confirm=confirm,
        to=to,
        budget=budget,
        recipe=recipe,
        sampler=sampler,
        pruner=pruner,
        study=study,
        data=data,
        engine=engine,
        precision=precision,
        workers=workers,
        slurm=slurm,
    )
    try:
        with queue_database.explained():
            job = commands_search.SearchJob(options, recorder)
            if confirm:
                report = job.confirm(fresh_seeds)
                show_reports([report], json, details=details)
                if save:
                    log.print(f"Saved as {job.save(save, report)}: make baseline RECIPE={save}")
            else:
                job.run()
                show(job.publish(), json, search_report.print_search)
    except KeyboardInterrupt:
        log.print("Stopped. What is finished is kept: the same command goes on from there.")
        raise


def anytime(
    searches: Annotated[list[Path], typer.Argument(help="The search.json of each, as `harness search --to` wrote it.")],
    to: Annotated[Path, typer.Option(help="Where table and figure go.")] = Path("."),
    json: Json = False,
) -> None:
    """Compare ways of searching at equal PFLOP: how good was the best so far, at any cost?

    Searches with the same sampler and pruner are repetitions of one way.

    ```
    harness search --study "tpe 2" --to results
    harness search --study "random 1" --sampler random --pruner none --trials 37 --to results
    harness anytime results/*/search.json --to results
    ```
    """
    show(publish.publish_anytime(searches, to), json, search_report.print_anytime)


def worker(
    studies: Annotated[list[str], typer.Argument(help="Studies of the queue, by name.")],
    probe: Annotated[bool, typer.Option(help="Look inside the network after every epoch.")] = True,
    parent: Annotated[str, typer.Option(hidden=True, help="The process that started this worker, by its name.")] = "",
) -> None:
    """Train what waits in the queue: runs of experiments, trials of searches. Ends when nothing waits.

    `--workers N` of `run` and `search` starts N of these. More may join from any machine with the same code and data
    that reaches the queue's database (`OPTUNA_STORAGE`) and the tracking server (`MLFLOW_TRACKING_URI`).

    ```
    harness worker "ablate_bn fast quick cifar10"
    OPTUNA_STORAGE=postgresql+psycopg://me@host/optuna MLFLOW_TRACKING_URI=http://host:5000 \\
        harness worker "search fast quick cifar10"
    ```
    """
    commands_worker.work(studies, probe=probe, parent=parent)
