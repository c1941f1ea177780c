"""The `harness` command. Each sub-command is a few lines over the part that does the work."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from harness import interrupts
from harness.errors import BadInput, HarnessError
from harness.report.console import log

app = typer.Typer(
    help="Finds out, with evidence, why an 18-layer CNN reaches 0.86 on CIFAR-10.\n\n"
    "Start with `harness run baseline`, look with `harness ui`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]
Data = Annotated[
    str | None,
    typer.Option(help="`cifar10` insists on CIFAR-10, `digits` asks for scikit-learn's; default: whatever is found."),
]

Setting = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change one setting; may be repeated.")
]


Slurm = Annotated[
    str | None,
    typer.Option(
        metavar="OPTIONS",
        help="The workers as Slurm jobs, as in `time=240,partition=gpu,gpus_per_node=1` (minutes; needs submitit).",
    ),
]


@app.command()
def run(
    experiments: Annotated[list[str], typer.Argument(help="Files of experiments/, without the .py.")],
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
    engine: Annotated[str, typer.Option(help="What trains: `tensorflow` or `jax`; default: $KERAS_BACKEND.")] = "tensorflow",
    precision: Annotated[str, typer.Option(help="`float32`, `bfloat16`, or `auto`: what is fast here.")] = "auto",
    retune: Annotated[
        bool | None,
        typer.Option(help="Also run each variant with a learning rate of its own; default: yes, but not at `smoke`."),
    ] = None,
    probe: Annotated[bool, typer.Option(help="Look inside the network after every epoch.")] = True,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train; default: one, or one per core for many cells.")
    ] = None,
    slurm: Slurm = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done and start over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells, which are done, and how long.")] = False,
    json: Json = False,
) -> None:
    """Train an experiment's cells, or go on with them, and show the result.

    The same command goes on where it was stopped, and shows the result when there is nothing left to train.

    ```
    harness run baseline
    harness run baseline --seeds 10
    harness run baseline --split tune --set learning_rate=0.05 --set dropout=0,0.1,0.2,0.3
    harness run ablate_bn --budget quick --dry-run
    harness run ablate_bn ablate_order --budget quick --workers 2
    harness run ablate_activation --variant sigmoid --no-retune
    ```
    """
    from harness.jobs import Job, Request

    changes = dict(_name_and_value(text) for text in setting or [])
    request = Request(
        experiments, budget, recipe, seeds, split, variant or [], data, engine, precision, changes, retune, probe,
        workers, slurm, fresh,
    )  # fmt: skip
    job = Job(request)
    if dry_run:
        from harness.report.console import preview

        _show(job.preview(), json, preview)
        return
    try:
        job.train()
    except KeyboardInterrupt:
        log.print("Stopped. Finished epochs are kept: the same command (without --fresh) goes on from there.")
        raise
    documents = job.publish()
    _show_answers(documents, json)
    if any(run["status"] == "diverged" for document in documents for run in document["runs"]):
        raise typer.Exit(1)


@app.command()
def compare(
    what: Annotated[list[str], typer.Argument(help="Experiments, or runs by their keys (or the first few digits).")],
    budget: Annotated[str, typer.Option(help="Of experiments: `smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="Of experiments: `fast` or `published`.")] = "fast",
    retune: Annotated[bool | None, typer.Option(help="Of experiments: as in `harness run`.")] = None,
    data: Data = None,
    to: Annotated[Path | None, typer.Option(help="Where to write tables and figures; default: mlruns/answers.")] = None,
    json: Json = False,
) -> None:
    """Compare what is stored: an experiment's cells, or any runs. Trains nothing.

    Runs that differ in their seed alone are one variant; the first run's variant is the one to compare with. Runs on
    different data, budgets or splits are never compared.

    ```
    harness compare ablate_bn --budget quick
    harness compare 492363e0 a994170c
    ```
    """
    from harness import comparison

    _show_answers(comparison.compare(what, budget, seeds, recipe, retune, data, to), json)


@app.command()
def new(name: Annotated[str, typer.Argument(help="A Python name, as in `ablate_pooling`.")]) -> None:
    """Write the skeleton of an experiment to experiments/NAME.py, to be filled in.

    ```
    harness new ablate_pooling
    ```
    """
    from harness.skeleton import write

    log.print(f"{write(name)} is written. Say what you predict, name the variants, and: harness run {name}")


@app.command()
def search(
    search: Annotated[str, typer.Argument(help="A search file of experiments/, without the .py.")] = "search",
    trials: Annotated[int, typer.Option(help="How many there shall be in all, those that are done included.")] = 50,
    budget: Annotated[str, typer.Option(help="`smoke` (seconds a trial), `quick` or `full`.")] = "quick",
    workers: Annotated[int, typer.Option(help="Processes that train; one GPU each where there are several.")] = 1,
    sampler: Annotated[str | None, typer.Option(help="`tpe` or `random`; default: the file's.")] = None,
    pruner: Annotated[str | None, typer.Option(help="`halving`, `median` or `none`; default: the file's.")] = None,
    study: Annotated[str, typer.Option(help="Another study beside the usual one.")] = "",
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Run the best three and the baseline on fresh seeds, on the test images.")
    ] = False,
    seeds: Annotated[str, typer.Option(help="Of the confirmation: how many, or which.")] = "10",
    save: Annotated[str | None, typer.Option(metavar="NAME", help="Save the confirmed best as a recipe.")] = None,
    to: Annotated[Path | None, typer.Option(help="Where tables and figures go; default: mlruns/answers.")] = None,
    recipe: Annotated[str, typer.Option(help="The baseline, which the search must beat.")] = "fast",
    slurm: Slurm = None,
    data: Data = None,
    engine: Annotated[str, typer.Option(help="What trains: `tensorflow` or `jax`; default: $KERAS_BACKEND.")] = "tensorflow",
    precision: Annotated[str, typer.Option(help="`float32`, `bfloat16`, or `auto`: what is fast here.")] = "auto",
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
    ```
    """
    from harness.plan import parse_seeds
    from harness.recipes import new_name
    from harness.report.answer_text import print_answer
    from harness.report.search_text import print_search
    from harness.search.job import Request, SearchJob
    from harness.workers import explained

    fresh_seeds = parse_seeds(seeds)
    if save and not confirm:
        raise BadInput(f"--save {save} goes with --confirm: only a confirmed recipe is saved.")
    if save:
        new_name(save)
    request = Request(
        search=search, trials=trials, budget=budget, recipe=recipe, sampler=sampler, pruner=pruner, study=study,
        data=data, engine=engine, precision=precision, workers=workers, slurm=slurm,
    )  # fmt: skip
    try:
        with explained():
            job = SearchJob(request)
            if confirm:
                document = job.confirm(fresh_seeds, to)
                _show(document, json, print_answer)
                if save:
                    log.print(f"Saved as {job.save(save, document)}: make baseline RECIPE={save}", soft_wrap=True)
            else:
                job.run()
                _show(job.publish(to), json, print_search)
    except KeyboardInterrupt:
        log.print("Stopped. What is finished is kept: the same command goes on from there.")
        raise


@app.command()
def worker(
    studies: Annotated[list[str], typer.Argument(help="Names of studies in the queue.")],
    probe: Annotated[bool, typer.Option(help="Look inside the network after every epoch.")] = True,
) -> None:
    """Do the work that waits in some studies, until none waits: cells of experiments, trials of searches.

    `--workers N` of `run` and `search` starts N of these. Others may join from any machine with the same code and data
    that reaches the study's database (`OPTUNA_STORAGE`) and the tracking server (`MLFLOW_TRACKING_URI`).

    ```
    harness worker "ablate_bn fast quick cifar10"
    OPTUNA_STORAGE=postgresql+psycopg://me@host/optuna MLFLOW_TRACKING_URI=http://host:5000 \\
        harness worker "search fast quick cifar10"
    ```
    """
    from harness.workers import join

    join(studies, probe=probe)


@app.command()
def data(
    data: Data = None,
    picture: Annotated[Path | None, typer.Option(help="Where to draw ten samples of each class.")] = None,
    json: Json = False,
) -> None:
    """Say which CIFAR-10 was found, where, and what is in it; draw ten samples of each class.

    ```
    harness data
    CIFAR10_DIR=~/datasets/cifar10 harness data
    harness data --picture samples.png
    ```
    """
    from harness import inspection

    _show(inspection.describe_data(data, picture), json, inspection.print_data)


@app.command()
def show(
    setting: Setting = None,
    recipe: Annotated[str, typer.Option(help="Whose dropout rates to show.")] = "fast",
    picture: Annotated[Path | None, typer.Option(help="Where to draw the network.")] = None,
    json: Json = False,
) -> None:
    """Show the network: layers, shapes, parameters, operations; and draw it.

    ```
    harness show
    harness show --set normalization=none --set activation=sigmoid
    ```
    """
    from harness import inspection

    changes = dict(_name_and_value(text) for text in setting or [])
    _show(inspection.describe_network(recipe, changes, picture), json, inspection.print_network)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files of any size; each is scaled to 32x32.")],
    run: Annotated[str | None, typer.Option(help="A run key, or the start of one; default: the best run.")] = None,
    json: Json = False,
) -> None:
    """Classify image files with the best run, or with a named one: the three likeliest classes of each.

    ```
    harness predict cat.jpg truck.png
    harness predict cat.jpg --run 3f9a
    ```
    """
    from harness import prediction

    _show(prediction.predict(images, run), json, prediction.print_predictions)


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=5, help="Rounds of each contender, interleaved; medians are shown.")] = 5,
    json: Json = False,
) -> None:
    """Measure this engine against plain Keras and PyTorch, side by side on this machine. Nothing else should run.

    ```
    harness bench
    harness bench --rounds 9 --json
    ```
    """
    from harness import bench

    _show(bench.run(rounds), json, bench.print_bench)


@app.command()
def ui(port: Annotated[int, typer.Option(help="On this machine only (127.0.0.1).")] = 5000) -> None:
    """Open the MLflow UI over all runs.

    ```
    harness ui
    harness ui --port 5001
    ```
    """
    from harness.ui import serve

    serve(port)


@app.command()
def dashboard(port: Annotated[int, typer.Option(help="On this machine only (127.0.0.1).")] = 8080) -> None:
    """Open the Optuna dashboard over all studies.

    ```
    harness dashboard
    harness dashboard --port 8081
    ```
    """
    from harness.ui import serve_dashboard

    serve_dashboard(port)


def _show(document: dict[str, Any], as_json: bool, printer: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        import json

        # Not through rich: it would wrap the document at the width of the terminal.
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        printer(document)


def _show_answers(documents: list[dict[str, Any]], as_json: bool) -> None:
    """One document by itself, several as a list."""
    from harness.report.answer_text import print_answer
    from harness.report.console import summary

    def show_each(whole: dict[str, Any]) -> None:
        for document in documents:
            alone = len(document["variants"]) == 1
            (summary if alone else print_answer)(document)

    _show(documents[0] if len(documents) == 1 else {"experiments": documents}, as_json, show_each)


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise BadInput(f"--set {text} does not fit: write it as NAME=VALUE, as in --set learning_rate=0.05.")
    return name, value


def main() -> None:
    """The console script. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    interrupts.install()
    try:
        app()
    except HarnessError as error:
        kind = "Bad input" if isinstance(error, BadInput) else "Failed"
        log.print(f"[bold red]{kind}:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        log.print(f"[bold red]Failed:[/] {escape(f'{error.strerror or error}: {error.filename}')}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
