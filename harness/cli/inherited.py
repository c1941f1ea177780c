"""What a command inherits from whoever starts it, set right before its work: streams, warnings, variables."""

import io
import os
import sys
import warnings
from typing import Any, cast

from harness.common import paths
from harness.engine.backend import ENGINES, forget_what_changes_numbers


def set_right() -> None:
    """Set right what would stop a command, or change its numbers. Child processes inherit the rest of it."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows another one: a finished training must not end in an error for that.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # PYTHONWARNINGS=error is meant for one's own tests: other libraries warn of what works.
    filters = cast(list[Any], warnings.filters)
    filters[:] = [each for each in filters if each[0] != "error"]
    forget_what_changes_numbers()
    # Keras has more backends than there are engines here, and the variable may be set for another program.
    if os.environ.get("KERAS_BACKEND") not in ENGINES:
        os.environ.pop("KERAS_BACKEND", None)
    # Children are started with -P, and so import nothing from where the command was given.
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, (str(paths.PROJECT), *found))))


def _open_closed_streams() -> None:
    """Open the standard streams that are closed, as under some service managers and after `2>&-`.

    The next files that are opened would take their numbers: what libraries print would be written into those.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
