"""The `harness` command. Each sub-command is a few lines over the part that does the work."""

import sys

from rich.markup import escape

# Each registers its commands.
from harness.cli import offline, run, search, tools  # noqa: F401
from harness.cli.options import app
from harness.common import paths
from harness.common import signals as interrupts
from harness.common.errors import BadInput, HarnessError
from harness.reporting.console import log


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
        # A full disk does not say which file it had no room for.
        what = f"{error.strerror or error} ({error.filename or paths.mlruns()})"
        way_out = "What is finished is kept: mend that and give the same command again, which goes on from there."
        log.print(f"[bold red]Failed:[/] {escape(what)}. {way_out}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
