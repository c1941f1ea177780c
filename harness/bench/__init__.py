"""`harness bench`: this engine beside plain Keras and PyTorch, and beside what the machine could do.

Each contender is a process of its own that is set up once. The rounds go round them (A B C D A B C D ...), one
contender computing while the others wait on their pipes, so that whatever slows the machine down for a while
slows all of them down alike.
"""

import json
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata, util
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from harness import data, paths
from harness.bench.child import Child
from harness.bench.document import Measurements, derive
from harness.recipes import FAST
from harness.report.console import duration, log, out
from harness.runs import write_atomically

#: Images that each contender trains in a round: about 7 s for this engine and 20 s for `fit` on two cores.
ROUND_IMAGES = 2560
#: Timed starts of the real command, after one that is not timed and fills the caches.
STARTS = 3

LABELS = {
    "harness": "this engine",
    "keras_fit": "Keras fit on arrays",
    "keras_fit_no_autotune": "Keras fit, no autotuning",
    "torch": "PyTorch eager",
    "matmul": "matrix products 4096 x 4096",
}
#: Seconds of a set-up, of a round and of a start of the command on two cores: what the first ETA is made of.
SET_UP_SECONDS = 14.0
ROUND_SECONDS = {"harness": 7.0, "keras_fit": 20.5, "keras_fit_no_autotune": 14.0, "torch": 10.0, "matmul": 3.0}
START_SECONDS = 11.0


def run(rounds: int) -> dict[str, Any]:
    """Measure everything, write `mlruns/bench.json`, and return what it holds.

    Raises HarnessError when a contender dies, BadInput when there is no CIFAR-10.
    """
    dataset = data.load("cifar10")
    names = [name for name in LABELS if name != "torch" or util.find_spec("torch")]
    work = len(names) * SET_UP_SECONDS + rounds * sum(ROUND_SECONDS[name] for name in names)
    with _Display(work + (STARTS + 1) * START_SECONDS) as display:
        first_steps, command_memory = _starts(display)
        about, answers = _rounds(names, rounds, display)
    engine = about["harness"]
    document = derive(
        Measurements(
            images_per_s={
                name: [answer["images_per_s"] for answer in answers[name]] for name in names if name != "matmul"
            },
            gflop_per_s={
                precision: [answer[precision] for answer in answers["matmul"]] for precision in ("float32", "bfloat16")
            },
            first_step_s=first_steps,
            peak_memory_gb={"engine": answers["harness"][-1]["peak_memory_gb"], "command": command_memory},
            precision=engine["precision"],
            flops_per_image=engine["flops_per_image"],
        )
    )
    for name, contender in document["contenders"].items():
        contender |= {"label": LABELS[name], "about": about[name]}
    document |= {
        "n": rounds,
        "batch_size": FAST.batch_size,
        "images_per_round": ROUND_IMAGES // FAST.batch_size * FAST.batch_size,
        "hardware": engine["device"],
        "data": dataset.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("tensorflow", "keras", "torch", "numpy")},
    }
    write_atomically(paths.mlruns() / "bench.json", json.dumps(document, indent=1).encode())
    return document


def print_bench(document: dict[str, Any]) -> None:
    """The document as two tables: who was how fast, and which target was reached."""
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
    words = {True: "[green]yes[/]", False: "[bold red]no[/]", None: "not measured"}
    for target in document["targets"]:
        value = "–" if target["value"] is None else f"{target['value']:.{target['digits']}f}{target['unit']}"
        limit = f"{target['sense']} {target['limit']:g}{target['unit']}"
        targets.add_row(target["what"], limit, value, words[target["reached"]])
    out.print(targets)

    for line in _explanations(document):
        out.print(f"  {line}", highlight=False)


def _explanations(document: dict[str, Any]) -> list[str]:
    rates = ", ".join(f"{rate:.0f} GFLOP/s {name}" for name, rate in document["matmul_gflop_per_s"].items())
    torch = document["contenders"].get("torch")
    if torch:
        trial = ", ".join(f"{name} {speed:.0f}" for name, speed in torch["about"]["trial_images_per_s"].items())
        about_torch = f"PyTorch: channels_last, in the precision that was faster in a trial ({trial} images/s)"
    else:
        about_torch = "PyTorch is not installed, so nothing was compared with it: `pip install torch` mends that"
    return [
        f"{LABELS['matmul']}: {rates}",
        f"this engine: {document['engine_gflop_per_s']:.0f} GFLOP/s ({document['flops_per_image'] / 1e6:.1f} MFLOP an "
        f"image), {document['share_of_bfloat16_rate']:.0%} of the bfloat16 rate",
        f"share of the machine's rate: of {document['share_of_peak_is_of']}",
        about_torch,
        *document["notes"],
        f"medians of {document['n']} interleaved rounds of {document['images_per_round']:,} images, batch size "
        f"{document['batch_size']}, {document['data']}, {document['date']}",
        str(paths.mlruns() / "bench.json"),
    ]


def _starts(display: "_Display") -> tuple[list[float], float]:
    """Seconds from the launch of `harness run baseline` to its first training step, and its peak memory in GB."""
    seconds, memory = [], 0.0
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as folder:
        # Runs that are cut off after a few steps have no business in the user's own list of runs.
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"HARNESS_MLRUNS": folder}
        for start in range(STARTS + 1):
            display.now("from command to first step" if start else "filling the caches")
            begin = time.perf_counter()
            with Child("harness.bench.command", environment=environment) as command:
                command.answer()
                seconds.append(time.perf_counter() - begin)
                memory = max(memory, command.answer()["peak_memory_gb"])
            display.done(START_SECONDS)
    log.print(f"from command to first training step: {', '.join(f'{s:.1f}' for s in seconds[1:])} s")
    return seconds[1:], memory


def _rounds(names: list[str], rounds: int, display: "_Display") -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What each contender says about itself, and its answers to every round."""
    answers: dict[str, list[Any]] = {name: [] for name in names}
    with ExitStack() as stack:
        contenders, about = {}, {}
        for name in names:
            display.now(f"setting up: {LABELS[name]}")
            contenders[name] = stack.enter_context(Child("harness.bench.contenders", name, str(ROUND_IMAGES)))
            about[name] = contenders[name].answer()
            display.done(SET_UP_SECONDS)
        for number in range(1, rounds + 1):
            for name, contender in contenders.items():
                display.now(f"round {number}/{rounds}: {LABELS[name]}")
                answers[name].append(contender.ask())
                display.done(ROUND_SECONDS[name])
            speeds = ", ".join(f"{name} {answers[name][-1]['images_per_s']:.0f}" for name in names if name != "matmul")
            eta = f"; {display.eta}" if number < rounds else ""
            log.print(f"round {number}/{rounds}: {speeds} images/s{eta}", soft_wrap=True)
    return about, answers


class _Display:
    """A bar and an ETA in a terminal; where output is piped, the lines that are logged must do."""

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
        """What was planned for the rest, at the pace so far."""
        pace = (time.perf_counter() - self._begin) / self._worked if self._worked else 1.0
        return f"about {duration((self._planned - self._worked) * pace)} left"

    def now(self, doing: str) -> None:
        """Show what is being done."""
        self._progress.update(self._task, description=doing, eta=self.eta)

    def done(self, planned_seconds: float) -> None:
        """Something is over that was planned to take so long."""
        self._worked += planned_seconds
        self._progress.update(self._task, completed=self._worked, eta=self.eta)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
