"""`harness bench`: compare an engine's speed with plain Keras and PyTorch, and with the speed limit of the machine.

Each contender is a separate process that is set up once. The rounds are interleaved (A B C D A B C D ...): one
contender computes while the others wait on their pipes, so that anything that slows the machine down for a while slows
all of them down alike.
"""

import dataclasses
import json
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import util
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from harness import data
from harness.commands.bench.child import Child
from harness.commands.bench.contenders import Setup
from harness.commands.bench.document import USUAL_BATCH, Measurements, derive
from harness.commands.bench.quiet import Watch
from harness.common import paths
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.engine.backend import ENGINES
from harness.engine.devices import sees_gpu
from harness.published import TRAIN_IMAGES
from harness.recipes import named
from harness.reporting.console import duration, log, out
from harness.tracking.provenance import version

#: Images that each contender trains on in a round; on a GPU they are a whole epoch.
ROUND_IMAGES = {"cpu": 2560, "gpu": TRAIN_IMAGES}
#: Timed starts of the real command, after one untimed start that fills the caches.
STARTS = 3

LABELS = {
    "harness": "this engine",
    "keras_fit": "Keras fit on arrays",
    "keras_fit_128": "Keras fit at batch 128",
    "keras_fit_no_autotune": "Keras fit, no autotuning",
    "torch": "PyTorch eager",
    "torch_compile": "PyTorch, torch.compile",
    "machine": "matrix products 4096 x 4096",
}
#: The contenders of each engine's bench. The last one, `machine`, measures the machine itself.
NAMES = {
    "tensorflow": ("harness", "keras_fit", "keras_fit_no_autotune", "torch", "torch_compile", "machine"),
    "jax": ("harness", "keras_fit", "keras_fit_128", "torch_compile", "machine"),
}
#: Seconds of a set-up, of a round and of a start of the command on two cores, for the first ETA.
SET_UP_SECONDS = 14.0
ROUND_SECONDS = {
    "harness": 7.0, "keras_fit": 20.5, "keras_fit_128": 20.5, "keras_fit_no_autotune": 14.0, "torch": 10.0,
    "torch_compile": 10.0, "machine": 3.0,
}  # fmt: skip
START_SECONDS = 11.0


def run(rounds: int, engine: str, batch_size: int, images: int | None = None) -> dict[str, Any]:
    """Run the bench; write its document to `mlruns/bench.json` (for JAX `mlruns/bench-jax.json`) and return it.

    images: number of images in a round; only full batches are trained. Raises HarnessError if a contender dies, and
    BadInput if there is no CIFAR-10 or an option is invalid.
    """
    named("engine", dict.fromkeys(ENGINES), engine)
    images = images or ROUND_IMAGES["gpu" if sees_gpu(engine) else "cpu"]
    least = max(batch_size, USUAL_BATCH)
    if not 2 <= batch_size <= TRAIN_IMAGES:
        raise BadInput(f"Invalid value --batch-size {batch_size}: it is 2 to {TRAIN_IMAGES}.")
    if not least <= images <= TRAIN_IMAGES:
        raise BadInput(f"Invalid value --images {images}: for batches of {batch_size} it is {least} to {TRAIN_IMAGES}.")
    setup = Setup(engine, batch_size, images // batch_size * batch_size)
    dataset = data.load("cifar10")
    names = [
        name
        for name in NAMES[engine]
        if ("torch" not in name or util.find_spec("torch")) and (name != "keras_fit_128" or batch_size != USUAL_BATCH)
    ]
    work = len(names) * SET_UP_SECONDS + rounds * sum(ROUND_SECONDS[name] for name in names)
    with _Display(work + (STARTS + 1) * START_SECONDS) as display:
        first_steps, command_memory = _starts(engine, display)
        watch = Watch(log.print)
        about, answers = _rounds(names, setup, rounds, display, watch)
    ours = about["harness"]
    document = derive(
        Measurements(
            images_per_s={
                name: [answer["images_per_s"] for answer in answers[name]] for name in names if name != "machine"
            },
            gflop_per_s={
                precision: [answer[precision] for answer in answers["machine"]] for precision in ("float32", "bfloat16")
            },
            first_step_s=first_steps,
            peak_memory_gb={"engine": answers["harness"][-1]["peak_memory_gb"], "command": command_memory},
            precision=ours["precision"],
            flops_per_image=ours["flops_per_image"],
            engine=engine,
            batch_size=batch_size,
            copy_gb_per_s=[answer["copy"] for answer in answers["machine"] if "copy" in answer],
            convolved_per_image=ours["convolved_per_image"],
        )
    )
    for name, contender in document["contenders"].items():
        contender |= {"label": LABELS[name], "about": about[name]}
    document |= {
        "n": rounds,
        "images_per_round": setup.images,
        "first_round_s": ours["first_round_s"],
        "others_used_cores": watch.others,
        "quiet": watch.verdict,
        "hardware": ours["device"],
        "data": dataset.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: version(name) or None for name in ("tensorflow", "jax", "keras", "torch", "numpy")},
    }
    file = paths.mlruns() / ("bench.json" if engine == "tensorflow" else f"bench-{engine}.json")
    write_atomically(file, json.dumps(document, indent=1).encode())
    return document | {"file": str(file)}


def print_bench(document: dict[str, Any]) -> None:
    """Print the document as two tables: the speed of each contender, and which targets were reached."""
    speeds = Table(title=f"Training speed · {document['hardware']}", title_justify="left")
    for column in ("", "precision", "images/s", "rounds from – to", "ours / theirs"):
        speeds.add_column(column)
    for contender in document["contenders"].values():
        speeds.add_row(
            contender["label"],
            contender["about"]["precision"],
            f"{contender['images_per_s']:.0f}",
            f"{min(contender['rounds']):.0f} – {max(contender['rounds']):.0f}",
            f"{document['images_per_s'] / contender['images_per_s']:.2f}",
        )
    out.print(speeds)

    targets = Table(title="Targets", title_justify="left")
    for column in ("", "target", "measured", "reached"):
        targets.add_column(column)
    words = {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("not measured")}
    for target in document["targets"]:
        value = "–" if target["value"] is None else f"{target['value']:.{target['digits']}f}{target['unit']}"
        limit = f"{target['sense']} {target['limit']:g}{target['unit']}"
        targets.add_row(target["what"], limit, value, words[target["reached"]])
    if targets.rows:
        out.print(targets)

    for line in _explanations(document):
        out.print(f"  {line}", highlight=False)


def _explanations(document: dict[str, Any]) -> list[str]:
    rates = ", ".join(f"{rate:.0f} GFLOP/s {name}" for name, rate in document["matmul_gflop_per_s"].items())
    torch = next((each for name, each in document["contenders"].items() if name.startswith("torch")), None)
    if torch:
        trial = ", ".join(f"{name} {speed:.0f}" for name, speed in torch["about"]["trial_images_per_s"].items())
        about_torch = f"PyTorch: channels_last, in the precision that was faster in a trial ({trial} images/s)"
    else:
        how = ".venv/bin/python -m pip install torch"
        about_torch = f"PyTorch is not installed, so nothing was compared with it: `{how}` mends that"
    return [
        f"{LABELS['machine']}: {rates}",
        f"this engine: {document['engine_gflop_per_s']:.0f} GFLOP/s ({document['flops_per_image'] / 1e6:.1f} MFLOP an "
        f"image), {document['share_of_bfloat16_rate']:.0%} of the bfloat16 rate",
        f"share of the machine's rate: of {document['share_of_peak_is_of']}",
        *_memory(document),
        about_torch,
        *document["notes"],
        document["quiet"],
        f"medians of {document['n']} interleaved rounds of {document['images_per_round']:,} images, batch size "
        f"{document['batch_size']}, {document['data']}, {document['date']}",
        document["file"],
    ]


def _memory(document: dict[str, Any]) -> list[str]:
    """Return lines that compare the speed with the limit of a GPU's memory; none if it was not measured."""
    if not document["share_of_memory_rate"]:
        return []
    return [
        f"this engine: {document['share_of_memory_rate']:.0%} of what the memory allows "
        f"({document['copy_gb_per_s']:.0f} GB/s in a copy; {document['gb_per_image'] * 1e3:.1f} MB an image, counted)",
        f"the first round, compilation included: {document['first_round_s']:.1f} s",
    ]


def _starts(engine: str, display: "_Display") -> tuple[list[float], float]:
    """Return the seconds from the start of `harness run baseline` to its first step, and its peak memory in GB."""
    seconds, memory = [], 0.0
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as folder:
        # These runs are stopped after a few steps, so they must not appear in the user's own runs.
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"HARNESS_MLRUNS": folder}
        for start in range(STARTS + 1):
            display.now("from command to first step" if start else "filling the caches")
            begin = time.perf_counter()
            with Child("harness.cli.bench_start", engine, environment=environment) as command:
                command.answer()
                seconds.append(time.perf_counter() - begin)
                memory = max(memory, command.answer()["peak_memory_gb"])
            display.done(START_SECONDS)
    log.print(f"from command to first training step: {', '.join(f'{s:.1f}' for s in seconds[1:])} s")
    return seconds[1:], memory


def _rounds(
    names: list[str], setup: Setup, rounds: int, display: "_Display", watch: Watch
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Run all rounds; return each contender's description of itself, and its answers for every round."""
    answers: dict[str, list[Any]] = {name: [] for name in names}
    with ExitStack() as stack:
        contenders, about = {}, {}
        for name in names:
            display.now(f"setting up: {LABELS[name]}")
            told = json.dumps(dataclasses.asdict(setup))
            contenders[name] = stack.enter_context(Child("harness.commands.bench.contenders", name, told))
            about[name] = contenders[name].answer()
            display.done(SET_UP_SECONDS)
        for number in range(1, rounds + 1):
            display.now("waiting for a quiet machine")
            watch.wait()
            for name, contender in contenders.items():
                display.now(f"round {number}/{rounds}: {LABELS[name]}")
                answers[name].append(contender.ask())
                display.done(ROUND_SECONDS[name])
            speeds = ", ".join(f"{name} {answers[name][-1]['images_per_s']:.0f}" for name in names if name != "machine")
            eta = f"; {display.eta}" if number < rounds else ""
            log.print(f"round {number}/{rounds}: {speeds} images/s{eta}")
    return about, answers


class _Display:
    """A progress bar with an ETA in a terminal. If the output is piped, there are only the logged lines."""

    def __init__(self, planned_seconds: float) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[eta]}"),
            console=log, disable=not log.is_terminal, transient=True,
        )  # fmt: skip
        self._planned, self._worked, self._begin = planned_seconds, 0.0, time.perf_counter()
        self._task = self._progress.add_task("", total=planned_seconds, eta=self.eta)

    def __enter__(self) -> "_Display":
        self._progress.start()
        log.print(f"{self.eta}. Let nothing else run meanwhile.")
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    @property
    def eta(self) -> str:
        """The remaining planned time, scaled by the pace so far, as text."""
        pace = (time.perf_counter() - self._begin) / self._worked if self._worked else 1.0
        return f"about {duration((self._planned - self._worked) * pace)} left"

    def now(self, doing: str) -> None:
        """Show what is being done."""
        self._progress.update(self._task, description=doing, eta=self.eta)

    def done(self, planned_seconds: float) -> None:
        """Mark a part of the work as done. planned_seconds: its planned duration."""
        self._worked += planned_seconds
        self._progress.update(self._task, completed=self._worked, eta=self.eta)
