"""The terminal: the two consoles that everything is printed to, and how a line and a table are printed."""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

#: As wide as a pipe or a file is: nothing that goes there is broken to fit.
UNBROKEN = 10_000


class Terminal(Console):
    """Breaks lines between words in a terminal, and not at all where output is piped."""

    @property
    def options(self) -> ConsoleOptions:
        """How wide tables may be."""
        return super().options if self.is_terminal else super().options.update_width(UNBROKEN)

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich does. A line with a word that is wider than the terminal, as a path may be, is left to the latter."""
        texts = [str(each) for each in objects if isinstance(each, str | Text)]
        widest = max((cell_len(word) for text in texts for word in text.split()), default=0)
        unbroken = len(texts) == len(objects) and not (self.is_terminal and widest <= self.width)
        super().print(*objects, **{"soft_wrap": unbroken, "crop": False} | how)


#: Results go to stdout, everything about the work to stderr: `--json` leaves stdout to the one document.
#: Names of variants, studies and files may hold brackets and colons: no text is taken for markup or emoji.
out = Terminal(markup=False, emoji=False)
log = Terminal(stderr=True, highlight=False, markup=False, emoji=False)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def print_line(text: str | Text, style: str = "") -> None:
    """A line of text, brackets included; `style` is rich's."""
    out.print(text if isinstance(text, Text) else Text(text, style))


def print_command(command: str) -> None:
    """A command on a line of its own, unbroken, with the path that this one was given by: it can be given as it is."""
    if Path(sys.argv[0]).name == "harness" and not shutil.which("harness"):
        command = re.sub(r"^harness\b", lambda _: shlex.quote(sys.argv[0]), command)
    out.print(Text(f"    {command}"), soft_wrap=True)


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table whose cells are shown as they are, brackets included."""
    table = Table(*(Column(Text(name)) for name in header), title=Text(title) if title else None, title_justify="left")
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


def print_runs(document: dict[str, Any]) -> None:
    """How the runs of a file ended, from the document that `--json` prints."""
    rows = [
        [run["name"], run["run_key"], run["status"] if run["accuracy"] is None else f"{run['accuracy']:.4f}"]
        for run in document["runs"]
    ]
    print_rows(["run", "run key", "accuracy"], rows)
    trained = sum(run["trained"] for run in document["runs"])
    print_line(f"  {len(document['runs'])} runs, {trained} of them trained now; they are in {document['folder']}")


def preview(document: dict[str, Any]) -> None:
    """What `harness run --dry-run` shows, from the document that its `--json` prints."""
    rows = [
        [spec["name"], spec["phase"], spec["run_key"], "done" if spec["done"] else ""] for spec in document["specs"]
    ]
    print_rows(["run", "phase", "run key", ""], rows)
    done = sum(spec["done"] for spec in document["specs"])
    print_line(f"  {len(document['specs'])} runs, {done} done")
    if document["unknown_yet"]:
        print_line(
            f"  and up to {document['unknown_yet']} more: further looks, and learning rates that the tuning will choose"
        )
    if document["stale"]:
        print_line(f"  {document['stale']} of these runs were done by older code: their results are kept, not used")
    if document["seconds"] is None:
        print_line("  How long: unknown until a first run of this budget has ended here.")
    elif done < len(document["specs"]):
        print_line(f"  about {duration(document['seconds'])} of training with one worker, by the runs that ended here")
