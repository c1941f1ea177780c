"""Measure what a training step costs: `python -m experiments.gpu.look BATCH IMAGES OUT.json [trace]`.

Writes images/s of the engine, called as in a run, to OUT.json. With `trace`, prints the kernels that take most of the
time and writes OUT-trace.json.gz, for Perfetto.
"""

import collections
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.commands.bench.contenders import Setup, harness

ROUNDS = 6
TRACED_STEPS = 20
KERNELS = 25
#: Bytes of the largest trace that is kept. It has to fit into the logs that are brought back.
LARGEST_TRACE = 10_000_000


def measure(batch: int, images: int, begin: float) -> dict[str, Any]:
    """Return images/s over some epochs (the first round is left out), with the device and the versions."""
    about, train = harness(Setup("jax", batch, images // batch * batch))
    import jax  # the engine has set its options by now

    rates = [train()["images_per_s"] for _ in range(ROUNDS)][1:]
    return {
        "batch": batch,
        "images": images,
        "device": about["device"],
        "precision": about["precision"],
        "jax": jax.__version__,
        "images_per_s": statistics.median(rates),
        "rounds": rates,
        "first_round_s": about["first_round_s"],
        "start_to_warm_s": time.time() - begin,
    }


def trace(batch: int) -> bytes:
    """Return the Perfetto trace of a short epoch, as JSON."""
    _, train = harness(Setup("jax", batch, TRACED_STEPS * batch))
    import jax

    train()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level, options.host_tracer_level = 0, 1
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
        train()
        jax.profiler.stop_trace()
        (file,) = Path(folder).rglob("perfetto_trace.json.gz")
        return gzip.decompress(file.read_bytes())


def print_kernels(events: list[dict[str, Any]]) -> None:
    """Print the kernels by their total time; on a CPU, whatever the trace has."""
    places = {event["pid"]: event["args"]["name"] for event in events if event.get("name") == "process_name"}
    on_gpu = any("GPU" in name for name in places.values())
    spent: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    for event in events:
        if event.get("ph") == "X" and ("GPU" in places.get(event["pid"], "") or not on_gpu):
            row = spent[event["name"].split("(")[0][:70].rstrip("0123456789_.")]
            row[0], row[1] = row[0] + 1, row[1] + event["dur"]
    print(f"{'us a step':>10} {'kernels a step':>15}  by name ({TRACED_STEPS} steps)")
    for name, (count, micros) in sorted(spent.items(), key=lambda item: -item[1][1])[:KERNELS]:
        print(f"{micros / TRACED_STEPS:10.1f} {count / TRACED_STEPS:15.1f}  {name}")
    counts, times = (sum(row[i] for row in spent.values()) / TRACED_STEPS for i in (0, 1))
    print(f"{times:10.1f} {counts:15.1f}  all")


def main() -> None:
    """Measure, and write the numbers before the trace is begun: profiling may fail."""
    begin = time.time()
    batch, images, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    found = measure(batch, images, begin)
    out.write_text(json.dumps(found, indent=1))
    print(json.dumps(found))
    if "trace" in sys.argv[4:]:
        data = trace(batch)
        print_kernels(json.loads(data)["traceEvents"])
        packed = gzip.compress(data)
        if len(packed) < LARGEST_TRACE:
            out.with_name(f"{out.stem}-trace.json.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
