"""`harness evidence`: the runs that README and docs quote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Json
from harness.cli.options import show as print_document
from harness.common.errors import HarnessError
from harness.common.lazy import lazy_import
from harness.reporting.console import log

if TYPE_CHECKING:
    from harness.commands import campaign
    from harness.commands import evidence as commands
else:
    campaign = lazy_import("harness.commands.campaign")
    commands = lazy_import("harness.commands.evidence")

app = typer.Typer(no_args_is_help=True)


@app.callback()
def evidence() -> None:
    """Collect the runs that README and docs quote, and make every quoted number from them.

    ```
    harness evidence status
    harness evidence verify
    ```
    """


@app.command()
def status(json: Json = False) -> None:
    """Show how many runs of each study are in the evidence, and the command that makes them."""
    print_document(commands.status(), json, commands.print_status)


@app.command()
def run(
    to: Annotated[Path, typer.Option(help="The folder for the runs, as of `harness run --offline`.")] = Path("bundles"),
) -> None:
    """Train what the evidence lacks of the studies in experiments/studies.py, at the lowest priority.

    It takes days of two cores. The same command goes on where it was stopped; what is in the committed evidence is not
    trained again.

    ```
    harness evidence run
    harness evidence add bundles
    ```
    """
    campaign.train(to)


@app.command()
def add(
    folders: Annotated[list[Path], typer.Argument(help="Folders with runs, as of `harness run --offline`.")],
    commit: Annotated[
        str | None, typer.Option(help="The commit they were trained with, where the runs say none or a wrong one.")
    ] = None,
    json: Json = False,
) -> None:
    """Add finished runs to the evidence. A run that was trained by code in no commit is refused."""

    document = commands.add(folders, commit)
    print_document(document, json, commands.print_added)
    if document["refused"]:
        raise HarnessError(f"{len(document['refused'])} of {document['read']} runs were refused.")


@app.command()
def publish() -> None:
    """Write every report and every number of README and docs from the evidence."""
    changed = commands.publish_all()
    for file in changed:
        log.print(str(file))
    log.print(f"{len(changed)} files written.")


@app.command()
def verify() -> None:
    """Make every report and every number of README and docs again, and compare: exit code 1 if one differs."""
    wrong = commands.verify()
    for line in wrong:
        log.print(line)
    if wrong:
        raise HarnessError(f"{len(wrong)} differences. `harness evidence publish` writes what the evidence gives.")
    log.print("Every report and every quoted number is what the evidence gives.")
