"""The real command, up to its first training steps: `python -m harness.bench.command`.

`harness run baseline` to the letter, imports, data, database and all; only the method that shows a step is
replaced by one that tells the bench of it.
"""

import os
import sys

from harness import cli
from harness.bench.child import Parent, peak_memory_gb
from harness.report.progress import RunDisplay

#: After so many steps memory has stopped growing.
STEPS = 10


def main() -> None:
    """Say when the first step is done, then the peak memory after `STEPS` of them, and end."""
    parent = Parent()

    def step(display: RunDisplay, done: int, steps_per_epoch: int) -> None:
        if done == 1:
            parent.say({"first_step": True})
        if done == STEPS:
            parent.say({"peak_memory_gb": peak_memory_gb()})
            os._exit(0)

    RunDisplay.step = step  # type: ignore[assignment]
    sys.argv = ["harness", "run", "baseline", "--data", "cifar10"]
    cli.main()


if __name__ == "__main__":
    main()
