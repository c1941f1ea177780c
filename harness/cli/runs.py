"""`harness runs` and `harness export`: the runs on this disk, listed, removed, taken elsewhere."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Json, changes_of, given
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.reporting.console import log, print_line, print_rows

if TYPE_CHECKING:
    from harness.commands import runs as commands_runs
else:
    commands_runs = lazy_import("harness.commands.runs")

app = typer.Typer(rich_markup_mode="markdown")

#: What a list shows; `--csv` and `--json` have all columns.
SHOWN = ("run_key", "experiment", "variant", "budget", "seed", "epochs_done", "accuracy", "megabytes")
HEADER = ("run", "experiment", "variant", "budget", "seed", "epochs", "accuracy", "MB")


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Only runs with this value; may be repeated.")
    ] = None,
    sort: Annotated[str, typer.Option(help="A column; `-accuracy`: the largest first.")] = "begun",
    csv: Annotated[bool, typer.Option("--csv", help="All columns as CSV on stdout.")] = False,
    json: Json = False,
) -> None:
    """List the runs on this disk, or remove some. `harness.load_runs()` is the same as a pandas frame.

    Columns are all that `--csv` shows: names, seed, status, accuracy, and every setting.

    ```
    harness runs
    harness runs --where experiment=ablate_bn --where budget=quick --sort -accuracy
    harness runs --csv > runs.csv
    harness runs rm 3f9a 492363e0
    harness runs gc --dry-run
    ```
    """
    if context.invoked_subcommand:
        if idle := given(context):
            raise BadInput(f"{idle[0]} goes with the list: leave it out for `{context.invoked_subcommand}`.")
        return
    if csv and json:
        raise BadInput("--csv and --json are two formats: give one of them.")
    frame = commands_runs.chosen_runs(list(changes_of(where, "--where", "COLUMN=VALUE").items()), sort)
    if csv:
        sys.stdout.write(frame.to_csv(index=False))
    elif json:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        sys.stdout.write(json_module.dumps({"runs": records}, indent=1, default=str) + "\n")
    elif frame.empty:
        print_line("No such run." if where else "There is no run yet: `harness run baseline` trains one.")
    else:
        rows = []
        for key, experiment, variant, budget, seed, epochs, accuracy, size in frame[[*SHOWN]].itertuples(index=False):
            names = [str(each or "–") for each in (experiment, variant, budget)]
            ended = "–" if accuracy is None or accuracy != accuracy else f"{accuracy:.4f}"
            rows.append([key[:8], *names, str(seed), str(epochs), ended, f"{size:.1f}"])
        print_rows(HEADER, rows)
        print_line(f"  {len(frame)} runs, {frame['megabytes'].sum():.0f} MB")


@app.command("rm")
def remove(
    keys: Annotated[list[str], typer.Argument(help="Run keys, or their first digits.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs from this disk and from MLflow."""
    found = commands_runs.runs_called(keys)
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("Nobody is there to be asked: give --yes to delete runs.")
        names = ", ".join(run.config.key[:8] for run in found)
        if not typer.confirm(f"Delete {len(found)} runs ({names})?"):
            raise typer.Exit(1)
    commands_runs.remove(found)
    log.print(f"{len(found)} runs are deleted.")


@app.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed.")] = False,
) -> None:
    """Free the disk of the checkpoints of ended runs. Their results, histories and models stay.

    Another tracking server could only be told of such a run by training it again.
    """
    freed = commands_runs.collect_garbage(dry_run=dry_run)
    log.print(f"{freed.checkpoints} checkpoints, {freed.size / 1e6:.0f} MB{' would be' if dry_run else ''} freed.")
    if freed.unsure:
        log.print(f"MLflow did not say whether it has {freed.unsure} runs: their checkpoints stay.")


def export(
    keras: Annotated[Path | None, typer.Option(metavar="FILE", help="The model of a run, as a .keras file.")] = None,
    card: Annotated[Path | None, typer.Option(metavar="FILE", help="Its model card, as Markdown.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Of --keras, --card: a run key, or its start; default: the champion.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="All runs, one row an epoch.")] = None,
    latex: Annotated[Path | None, typer.Option(metavar="FILE", help="The table of a report.")] = None,
    report: Annotated[Path | None, typer.Option(help="Of --latex: the report's folder; default: the newest.")] = None,
) -> None:
    """Take results elsewhere: a model as a Keras file, with its card; all epochs as Parquet; a table as LaTeX.

    ```
    harness export --keras cifar10.keras --card cifar10.md
    harness export --keras cifar10.keras --run 3f9a
    harness export --parquet epochs.parquet
    harness export --latex table.tex --report experiments/results/full/ablate_bn
    ```
    """
    if not (keras or card or parquet or latex):
        raise BadInput("Say what to export: --keras FILE, --card FILE, --parquet FILE or --latex FILE.")
    if run is not None and not (keras or card):
        raise BadInput("--run goes with --keras or --card: the others are of no single run.")
    if report is not None and not latex:
        raise BadInput("--report goes with --latex: it is the report whose table is written.")
    if keras:
        log.print(f"{keras}: the model of run {commands_runs.export_model(keras, run)}")
    if card:
        log.print(f"{card}: the card of the model of run {commands_runs.export_card(card, run)}")
    if parquet:
        log.print(f"{parquet}: {commands_runs.export_epochs(parquet):,} epochs")
    if latex:
        log.print(f"{latex}: the table of {commands_runs.export_latex(latex, report)}")
