"""Whether the machine is quiet enough to time something: what other processes use of its cores."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

#: Cores that others may use without a word. The system itself uses some.
QUIET = 0.15
#: Seconds that the use is measured for, and that a busy machine is waited for.
WATCHED = 0.5
PATIENCE = 60.0


def busy_cores() -> float:
    """Return how many cores are busy now. While all contenders wait, they are busy with the work of others."""
    return psutil.cpu_percent(interval=WATCHED) / 100 * (psutil.cpu_count() or 1)


@dataclass
class Watch:
    """Waits for a quiet machine before each round, and remembers how busy others kept it.

    say: shows a line of text. others: the cores that others used when a round began.
    """

    say: Callable[[str], None]
    patience: float = PATIENCE
    measure: Callable[[], float] = busy_cores
    others: list[float] = field(default_factory=list)

    def wait(self) -> None:
        """Return when the machine is quiet, or when patience is at an end."""
        deadline = time.monotonic() + self.patience
        busy = self.measure()
        if busy > QUIET:
            self.say(f"other processes use {busy:.1f} cores: waiting up to {self.patience:.0f} s for them")
            while busy > QUIET and time.monotonic() < deadline:
                busy = self.measure()
        self.others.append(busy)

    @property
    def verdict(self) -> str:
        """A sentence that says whether the timings can be trusted."""
        disturbed = sum(busy > QUIET for busy in self.others)
        if not disturbed:
            return "The machine was quiet before every round: the timings can be trusted."
        return (
            f"Other processes used up to {max(self.others):.1f} cores before {disturbed} of {len(self.others)} rounds: "
            f"do not trust these timings. Stop what else runs, and measure again."
        )
