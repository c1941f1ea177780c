"""Ctrl-C and its kin: they end a run in good order, and never in the middle of a conversation with a database.

An exception that a signal raises while a connection pool holds its lock leaves the lock taken for ever, and whichever
thread asks for it next waits for ever: seen with MLflow's system metrics thread.
"""

import contextlib
import signal
from collections.abc import Iterator

_deferring = 0
_pending = False


def install() -> None:
    """Let a polite kill and a closed terminal end the program the way Ctrl-C does: with a KeyboardInterrupt."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals wait until the block is over; a second one does not wait."""
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
    """Within a block that is `deferred`, let signals interrupt this part of it all the same."""
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
