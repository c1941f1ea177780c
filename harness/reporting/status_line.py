"""The live line at the bottom of a terminal: what is going on, in the width that there is."""

import time
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.reporting.console import log

#: A bar of fewer columns says nothing, and one of more no more.
BAR = (8, 24)


class StatusLine:
    """A line that is drawn anew while something goes on, and gone at the end; nothing where output is piped."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._share: float | None = None
        self._since = time.monotonic()
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._line, console=log, transient=True, refresh_per_second=4)

    def __enter__(self) -> "StatusLine":
        if log.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def show(self, *parts: str, share: float | None = None) -> None:
        """Show these parts, what matters most first. share: how much is done; without it, the seconds are counted."""
        if share is None and parts != tuple(self._parts):
            self._since = time.monotonic()
        self._parts, self._share = [*filter(None, parts)], share

    def _line(self) -> Table:
        room = log.width - 4
        parts = [*self._parts]
        if self._share is None and parts:
            parts[0] += f" {time.monotonic() - self._since:.0f} s"
        text = fitted(parts, room)
        line = Table.grid(padding=(0, 2, 0, 0))
        cells: list[RenderableType] = [self._spinner, Text(text, no_wrap=True)]
        left = min(room - cell_len(text) - 4, BAR[1])
        if self._share is not None and left >= BAR[0]:
            cells.append(ProgressBar(total=1.0, completed=self._share, width=left))
        line.add_row(*cells)
        return line


def fitted(parts: Iterable[str], width: int) -> str:
    """The parts that fit side by side, the earlier ones before the later ones; no part is cut."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if cell_len(longer) <= width:
            line = longer
    return line
