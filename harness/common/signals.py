"""Signal handling: Ctrl-C, SIGTERM and SIGHUP end a run cleanly, and never interrupt a database access.

If a signal raised an exception while a connection pool holds its lock, the lock would never be released, and the next
thread that needs it would wait for ever. This has happened with MLflow's system metrics thread.
"""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

#: Ctrl-C, kill, and a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_deferring = 0
_pending = False


def install() -> None:
    """Make SIGTERM (kill) and SIGHUP (a closed terminal) raise KeyboardInterrupt, as Ctrl-C does."""
    for number in SIGNALS:
        # Keep SIGHUP ignored if it is: `nohup` sets that.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # The first that is registered is called last. What follows is Python's own end, which would give the signals back
    # to the system: a command whose work is done would end as one that was killed.
    atexit.register(_ignore)


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_at_once() -> None:
    """Make these signals end the process at once, for when its work is done and only the interpreter is left to end.

    That takes a while, and an exception in it would look as if the work had been cut off.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    for number in SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, lambda number, frame: os._exit(130))


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer a signal until the block has ended. A second signal interrupts at once."""
    global _deferring, _pending
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
        if _pending and not _deferring:
            _pending = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Let signals interrupt this part of a `deferred` block. A signal that was deferred before is raised at once."""
    global _deferring, _pending
    waiting, _deferring = _deferring, 0
    try:
        if _pending:
            _pending = False
            raise KeyboardInterrupt
        yield
    finally:
        _deferring = waiting


def _interrupt(number: int, frame: object) -> None:
    global _pending
    if _deferring and not _pending:
        _pending = True
    else:
        raise KeyboardInterrupt
