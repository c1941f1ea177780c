"""The `harness` command. Each sub-command is a few lines over the part that does the work."""

import sys

from rich.markup import escape

from harness import interrupts
from harness.cli import experiments, looking, offline, searches  # noqa: F401
from harness.cli.options import app
from harness.errors import BadInput, HarnessError
from harness.report.console import log


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
