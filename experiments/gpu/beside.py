"""Images/s beside Keras `fit` and torch.compile: `python -m experiments.gpu.beside OUT.json IMAGES BATCH...`.

The contenders are those of `harness bench`, without its starts of the command, and for several batch sizes in one go.
Each is a process of its own; the rounds are interleaved. Writes all rounds to OUT.json.
"""

import dataclasses
import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.commands.bench.child import Child
from harness.commands.bench.contenders import Setup

ROUNDS = 7
#: What compiles longest begins first; the engine is set up last, when the others are done.
NAMES = ("torch_compile", "keras_fit", "harness")


def main() -> None:
    """Measure, print the medians, and write the rounds."""
    begin = time.monotonic()
    out, images, batches = Path(sys.argv[1]), int(sys.argv[2]), [int(batch) for batch in sys.argv[3:]]
    setups = {batch: json.dumps(dataclasses.asdict(Setup("jax", batch, images // batch * batch))) for batch in batches}
    with ExitStack() as stack:
        told: dict[tuple[str, int], Any] = {}
        contenders: dict[tuple[str, int], Child] = {}
        for name in NAMES:
            begun = {
                (name, batch): stack.enter_context(Child("harness.commands.bench.contenders", name, setups[batch]))
                for batch in batches
            }
            told |= {place: contender.answer() for place, contender in begun.items()}
            contenders |= begun
            print(f"{name}: set up after {time.monotonic() - begin:.0f} s", flush=True)
        rounds: dict[tuple[str, int], list[float]] = {place: [] for place in contenders}
        for _ in range(ROUNDS):
            for place, contender in contenders.items():
                rounds[place].append(contender.ask()["images_per_s"])
    rows = [
        {
            "contender": name, "batch": batch, "images": images // batch * batch, "rounds": rates,
            "images_per_s": statistics.median(rates), "about": told[name, batch],
        }
        for (name, batch), rates in rounds.items()
    ]  # fmt: skip
    out.write_text(json.dumps(rows, indent=1))
    for row in rows:
        low, high = min(row["rounds"]), max(row["rounds"])
        print(f"batch {row['batch']}: {row['contender']} {row['images_per_s']:.0f} images/s ({low:.0f} - {high:.0f})")


if __name__ == "__main__":
    main()
