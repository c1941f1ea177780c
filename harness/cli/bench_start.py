"""The real command, up to its first training steps: `python -m harness.cli.bench_start ENGINE`.

What `harness run baseline` does, imports, data, database and all; in the place of the terminal's display stands a
callback that tells the bench of the steps.
"""

import dataclasses
import os
import sys
from pathlib import Path
from types import TracebackType

from harness.cli import app  # noqa: F401  # the real command imports it
from harness.commands.bench.child import Parent, peak_memory_gb
from harness.commands.execution import TERMINAL, choose_recorder
from harness.commands.run import Job
from harness.config import RunConfig
from harness.run_options import RunOptions
from harness.runs.records import History

#: After so many steps memory has stopped growing.
STEPS = 10


class FirstSteps:
    """Tells the bench when the first step is done, then the peak memory after `STEPS` of them, and ends the process.

    Where an epoch is one program, its first step is heard of at its end.
    """

    def __init__(self, parent: Parent) -> None:
        self._parent, self._heard = parent, False

    def __enter__(self) -> "FirstSteps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def started(self, history: History) -> None:
        """Nothing to tell."""

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Tell of the first one, and end after the last one that counts."""
        if not self._heard:
            self._parent.say({"first_step": True})
        self._heard = True
        if done >= STEPS:
            self._parent.say({"peak_memory_gb": peak_memory_gb()})
            os._exit(0)

    def epoch(self, row: dict[str, float]) -> None:
        """Nothing to tell."""


def main() -> None:
    """Run the baseline up to its first steps."""
    parent, engine = Parent(), sys.argv[1]

    def display(name: str, config: RunConfig) -> FirstSteps:
        return FirstSteps(parent)

    # A machine with JAX need have no MLflow: it is compared as it is used there.
    offline = Path(os.environ["HARNESS_MLRUNS"]) if engine == "jax" else None
    options = RunOptions(experiments=["baseline"], data="cifar10", engine=engine, seeds="1")
    Job(options, choose_recorder(offline)).train(dataclasses.replace(TERMINAL, run=display))


if __name__ == "__main__":
    main()
