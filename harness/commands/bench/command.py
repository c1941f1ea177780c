"""The real command, up to its first training steps: `python -m harness.commands.bench.command ENGINE`.

`harness run baseline` to the letter, imports, data, database and all; only the method that shows a step is
replaced by one that tells the bench of it.
"""

import os
import sys

from harness.cli import app as cli
from harness.commands.bench.child import Parent, peak_memory_gb
from harness.reporting.progress import RunDisplay

#: After so many steps memory has stopped growing.
STEPS = 10


def main() -> None:
    """Say when the first step is done, then the peak memory after `STEPS` of them, and end.

    Where an epoch is one program, its first step is heard of at its end.
    """
    parent = Parent()
    engine = sys.argv[1]
    heard = False

    def step(display: RunDisplay, done: int, steps_per_epoch: int) -> None:
        nonlocal heard
        if not heard:
            parent.say({"first_step": True})
        heard = True
        if done >= STEPS:
            parent.say({"peak_memory_gb": peak_memory_gb()})
            os._exit(0)

    RunDisplay.step = step  # type: ignore[assignment]
    sys.argv = ["harness", "run", "baseline", "--data", "cifar10", "--engine", engine]
    # A machine with JAX need have no MLflow: it is compared as it is used there.
    sys.argv += ["--offline", os.environ["HARNESS_MLRUNS"]] if engine == "jax" else []
    cli.main()


if __name__ == "__main__":
    main()
