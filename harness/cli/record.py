"""`harness record`: the ledger of tries to reach 0.86 in fewer epochs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness.cli.options import Json, Setting, changes_of, show
from harness.common import paths
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.reporting.console import log

if TYPE_CHECKING:
    from harness.commands import record as recording
else:
    recording = lazy_import("harness.commands.record")


def record(
    name: Annotated[
        str | None, typer.Argument(help="The idea, as in `sgd-ratio`; without one, only the page is written.")
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs, or files that `experiments.gpu.rows` wrote; default: mlruns/runs."),
    ] = None,
    idea: Annotated[str, typer.Option(help="The idea in a sentence; needed once.")] = "",
    split: Annotated[str, typer.Option(help="`tune`, or `final`: the one look at the test images.")] = "tune",
    recipe: Annotated[str, typer.Option(help="What the settings change.")] = "fast",
    setting: Setting = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A setting that may have any value: each is a try; may be repeated."),
    ] = None,
    decision: Annotated[str, typer.Option(help="`kept`, `dropped` or `undecided`: of all these tries.")] = "undecided",
    commit: Annotated[
        str | None, typer.Option(help="Of the runs' code, where they were trained without its repository.")
    ] = None,
    json: Json = False,
) -> None:
    """Enter finished runs into the ledger (experiments/records), and write its page (docs/records.md).

    The page has the rules. An entry that breaks one is refused. A run that is in the ledger stays in it.

    ```
    harness record sgd-ratio --idea "Other rates for biases." --set epochs=5 --vary sgd_ratio
    harness record sgd-ratio --set epochs=5 --set sgd_ratio=16 --decision kept
    harness record sgd-ratio bundles --set epochs=5 --set sgd_ratio=16 --split final
    harness record
    ```
    """
    if name is None:
        log.print(f"{recording.write_page()} is written.")
        return
    if decision not in ("kept", "dropped", "undecided"):
        raise BadInput(f"Invalid value --decision {decision}: it is kept, dropped or undecided.")
    selection = recording.Selection(split, recipe, changes_of(setting), vary or [])
    found = sources or [paths.mlruns() / "runs"]
    document = recording.record(name, idea, found, selection, cast("recording.Decision", decision), commit)
    show(document, json, recording.print_record)
