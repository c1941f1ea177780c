"""Train the runs of a list in its order, in one process: `python -m experiments.gpu.lane LIST.json BUNDLES`.

What is done is left alone. One line per run. `harness run --specs` does the same in an order of its own, and says
nothing before the end.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands import spec_list
from harness.commands.execution import choose_recorder, in_the_terminal
from harness.common.errors import first_line
from harness.common.signals import install
from harness.data import load_named
from harness.execute.run_one import is_done, run_one

#: A run that takes longer than this many seconds, compilation included, hangs: the process ends, and the campaign
#: starts it once more.
STALL = float(os.environ.get("STALL", "300"))
#: After this many failures in a row the device is lost to this process.
FAILURES = 3


@contextmanager
def watched() -> Iterator[None]:
    """End the process, with a traceback, if the block takes longer than STALL seconds."""
    faulthandler.dump_traceback_later(STALL, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def main() -> int:
    """Return the exit status: 0 if every run of the list is done, 1 if one failed, 130 after a signal."""
    install()
    specs = spec_list.read(Path(sys.argv[1]))
    recorder = choose_recorder(Path(sys.argv[2]))
    execution = in_the_terminal(recorder)
    todo = [spec for spec in specs if not is_done(spec, recorder)]
    print(f"{len(todo)} of {len(specs)} runs to train", flush=True)
    failed = in_a_row = 0
    try:
        dataset = load_named(todo[0].config.data) if todo else None
        for spec in todo:
            assert dataset
            begin = time.monotonic()
            try:
                with watched():
                    result = run_one(spec, dataset, execution)
                said, in_a_row = f"{result.metrics.get('accuracy', result.status)}", 0
            except Exception as error:
                said, failed, in_a_row = f"failed: {first_line(error)}", failed + 1, in_a_row + 1
            print(f"{spec.experiment}, {spec.name}: {said} ({time.monotonic() - begin:.1f} s)", flush=True)
            if in_a_row == FAILURES:
                break
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
