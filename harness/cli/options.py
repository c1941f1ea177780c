"""The options that several sub-commands share, and how they show their documents."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.engine.backend import automatic_engine
from harness.experiment import questions

if TYPE_CHECKING:
    from harness.analysis.report import Report
    from harness.reporting import text as reporting_text
else:
    reporting_text = lazy_import("harness.reporting.text")


class ListsExperiments(TyperCommand):
    """A command whose help ends with the experiments there are."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: only now are the files of `experiments/` read."""
        self.epilog = "Experiments:\n\n" + "\n\n".join(f"- `{name}`: {asks}" for name, asks in questions().items())
        super().format_help(ctx, formatter)


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]
Details = Annotated[bool, typer.Option("--details", help="Show all tables, and every prediction.")]
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

Offline = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Without MLflow: write bundles to DIR, for `harness sync DIR`.")
]

Engine = Annotated[
    str,
    typer.Option(
        envvar="KERAS_BACKEND",
        callback=lambda value: automatic_engine() if value == "auto" else value,
        help="What trains: `tensorflow`, `jax`, or `auto`: JAX where it can use a GPU. `KERAS_BACKEND` may name one.",
    ),
]
Precision = Annotated[str, typer.Option(help="`float32`, `bfloat16`, or `auto`: what is fast here.")]


def show(document: dict[str, Any], as_json: bool, printer: Callable[[dict[str, Any]], None]) -> None:
    """Print a document as JSON, or let the printer show it."""
    if as_json:
        # Not through rich: it would wrap the document at the width of the terminal.
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        printer(document)


def show_reports(reports: "list[Report]", as_json: bool, *, details: bool = False) -> None:
    """One report by itself, several as a list. details: with all tables."""

    def show_each(_: dict[str, Any]) -> None:
        for report in reports:
            if len(report.variants) == 1:
                reporting_text.print_single(report)
            else:
                reporting_text.print_report(report, details=details)

    documents = [report.to_json() for report in reports]
    show(documents[0] if len(documents) == 1 else {"experiments": documents}, as_json, show_each)


def given(context: typer.Context) -> list[str]:
    """The options of a command that stand on the command line, by their long names."""
    sources = {option.opts[0]: context.get_parameter_source(option.name or "") for option in context.command.params}
    return [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def changes_of(settings: list[str] | None, option: str = "--set", form: str = "NAME=VALUE") -> dict[str, str]:
    """What the `--set` of a command line change, or another option of that form. Raises BadInput for a name twice."""
    changes: dict[str, str] = {}
    for text in settings or []:
        name, value = _name_and_value(text, option, form)
        if name in changes:
            raise BadInput(f"{option} {name} is given twice, with {changes[name]} and {value}: leave one out.")
        changes[name] = value
    return changes


def _name_and_value(text: str, option: str, form: str) -> tuple[str, str]:
    """The two sides of an option. Raises BadInput where there are not two."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise BadInput(f"Invalid value {option} {text}: write it as {form}, as in {option} learning_rate=0.05.")
    return name, value
