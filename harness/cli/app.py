"""The `harness` command. Each sub-command is a few lines over the part that does the work."""

import sys
import threading
import traceback
from types import TracebackType
from typing import Annotated

import typer
from rich.text import Text

import harness
from harness.cli import evidence, inherited, record, run, runs, search, tools
from harness.cli.options import ListsExperiments
from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.redact import redacted
from harness.reporting.console import log

app = typer.Typer(
    help="Finds out, with evidence, why an 18-layer CNN reaches 0.86 on CIFAR-10.\n\n"
    "Start with `harness run baseline`, look with `harness ui`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

EXPERIMENTS, SEARCHES, TOOLS = "Experiments", "Searches", "Tools"
app.command(rich_help_panel=EXPERIMENTS, cls=ListsExperiments)(run.run)
app.command(rich_help_panel=EXPERIMENTS, cls=ListsExperiments)(run.compare)
app.command(rich_help_panel=EXPERIMENTS, cls=ListsExperiments)(run.report)
app.command(rich_help_panel=EXPERIMENTS)(run.new)
app.command(rich_help_panel=EXPERIMENTS, cls=ListsExperiments)(run.plan)
app.command(rich_help_panel=EXPERIMENTS)(run.sync)
app.add_typer(runs.app, name="runs", rich_help_panel=TOOLS)
app.add_typer(evidence.app, name="evidence", rich_help_panel=EXPERIMENTS)
app.command(rich_help_panel=EXPERIMENTS)(record.record)
app.command(rich_help_panel=SEARCHES)(search.search)
app.command(rich_help_panel=SEARCHES)(search.anytime)
app.command(rich_help_panel=SEARCHES)(search.worker)
app.command(rich_help_panel=TOOLS)(tools.data)
app.command(rich_help_panel=TOOLS)(tools.show)
app.command(rich_help_panel=TOOLS)(tools.predict)
app.command(rich_help_panel=TOOLS)(runs.export)
app.command(rich_help_panel=TOOLS)(tools.bench)
app.command(rich_help_panel=TOOLS)(tools.calibrate)
app.command(rich_help_panel=TOOLS)(tools.ui)
app.command(rich_help_panel=TOOLS)(tools.dashboard)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"harness {harness.__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the program itself."""
    paths.check_mlruns()
    paths.fix_mlruns()
    paths.ensure_home()


def main() -> None:
    """Run the command of `sys.argv`. Exits with 0 done, 1 failed, 2 bad input, or raises KeyboardInterrupt."""
    inherited.set_right()
    sys.excepthook, threading.excepthook = _show_redacted, _show_in_a_line
    try:
        app(prog_name="harness")
    except HarnessError as error:
        _print_error("Bad input" if isinstance(error, BadInput) else "Failed", str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk does not say which file it had no room for.
        place = error.filename or ("the output of this command" if _is_unwritten() else paths.mlruns())
        what = f"{redacted(str(error.strerror or error))} ({place})"
        way_out = "What is finished is kept: mend that and give the same command again, which goes on from there."
        _print_error("Failed", f"{what}. {way_out}")
        sys.exit(1)


def _is_unwritten() -> bool:
    """Whether nothing can be written where stdout goes. An empty line tells."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _show_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, without the passwords that may be in the error."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _show_in_a_line(failed: threading.ExceptHookArgs) -> None:
    """Say that a thread has failed, such as Optuna's heartbeat or MLflow's metrics of the system: the work goes on."""
    if failed.exc_value is not None and failed.thread is not None:
        log.print(f"{failed.thread.name} ended: {first_line(failed.exc_value)}")


def _print_error(kind: str, message: str) -> None:
    log.print(Text.assemble((f"{kind}:", "bold red"), f" {message}"))
