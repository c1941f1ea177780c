"""The terminal while something trains: one run, or a table of specs."""

import time
from collections.abc import Sequence

from harness.common import paths
from harness.config import RunConfig
from harness.reporting.console import duration, log
from harness.reporting.status_line import StatusLine, fitted
from harness.runs.folder import Damaged, RunFolder
from harness.runs.records import History
from harness.runs.spec import RunSpec

#: What trains, as it is called.
FRAMEWORKS = {"tensorflow": "TensorFlow", "jax": "JAX"}


class RunDisplay:
    """Watches one run: a live line in a terminal, and a line for every epoch."""

    def __init__(self, name: str, config: RunConfig) -> None:
        self.name, self.config = name, config
        self._status = StatusLine()
        self._epochs_done = 0
        self._seconds: list[float] = []
        self._announced = self._compiled = False

    def __enter__(self) -> "RunDisplay":
        self._status.__enter__()
        self._status.show(f"{self.name}: loading {FRAMEWORKS[self.config.engine]}")
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.__exit__(*exception)

    def started(self, history: History) -> None:
        """Say what the lines to come hold, and where a resumed run goes on."""
        self._epochs_done = len(history)
        going_on = f", going on after epoch {len(history)} of {self.config.recipe.epochs}" if history else ""
        log.print(f"{self.name}: loss / accuracy of each epoch{going_on}")
        self._status.show(f"{self.name}: opening its record, compiling")
        self._begin = time.perf_counter()

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Move the bar; the first steps, which compile, are left out of the speed."""
        warm = min(3, steps_per_epoch)
        now = time.perf_counter()
        if done == 1:
            self._begin = now
            self._compiled = True
        if done < warm or done == 1:
            return
        rate = (done - 1) * self.config.recipe.batch_size / max(now - self._begin, 1e-9)
        epochs = self._epochs_done + done / steps_per_epoch
        epochs_left = self.config.recipe.epochs - epochs
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else self.config.train_images / rate
        eta = duration(epochs_left * mean)
        self._status.show(
            f"epoch {self._epochs_done + 1}/{self.config.recipe.epochs}",
            f"ETA {eta}",
            f"{rate:.0f} images/s",
            self.name,
            share=epochs / self.config.recipe.epochs,
        )
        # An epoch that is one program is heard of once, and the first one is mostly compiled.
        if self._compiled and not self._announced and (now - self._begin > 5 or done == steps_per_epoch):
            self._announced = True
            if not log.is_terminal:
                log.print(f"{self.name}: {rate:.0f} images/s, about {eta} for the {epochs_left:.1f} epochs left")

    def epoch(self, row: dict[str, float]) -> None:
        """Show what an epoch brought."""
        self._begin = time.perf_counter()
        self._epochs_done += 1
        self._seconds.append(row["epoch_seconds"])
        judged = "test" if "test_loss" in row else "validation"
        left = (self.config.recipe.epochs - self._epochs_done) * sum(self._seconds) / len(self._seconds)
        parts = [
            f"epoch {self._epochs_done:>3}/{self.config.recipe.epochs}",
            f"ETA {duration(left)}" if left else "",
            f"train {row['train_loss']:.3f} / {row['train_accuracy']:.3f}",
            f"{judged} {row[f'{judged}_loss']:.3f} / {row[f'{judged}_accuracy']:.3f}",
            f"{row['images_per_second']:.0f} images/s",
            self.name,
        ]
        log.print(fitted(filter(None, parts), log.options.max_width))


class RunsDisplay:
    """Watches the runs that workers train (0: this process): a bar in a terminal, one plain line a run."""

    def __init__(self, specs: Sequence[RunSpec], workers: int = 0) -> None:
        # The folders too: naming one hashes its config, and each is looked into twice a second.
        self._open = [(spec, RunFolder(spec.config)) for spec in specs]
        self._count, self._workers = len(specs), workers
        self._cost, self._spent = sum(spec.cost for spec in specs), 0
        self._begin = time.monotonic()
        self._status = StatusLine()

    def __enter__(self) -> "RunsDisplay":
        logs = paths.mlruns() / "workers"
        workers = f", {self._workers} workers; their logs are in {logs}" if self._workers else ""
        log.print(f"{self._count} runs to train{workers}")
        self._status.__enter__()
        self._status.show("loading and compiling")
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.__exit__(*exception)

    def update(self) -> None:
        """Look which runs have ended since the last time."""
        for spec, folder in list(self._open):
            try:
                result = folder.result()
            except Damaged:
                continue  # it is not mended yet
            if result is None:
                continue
            self._open.remove((spec, folder))
            self._spent += spec.cost
            done = self._count - len(self._open)
            seconds = time.monotonic() - self._begin
            eta = f"ETA {duration(seconds * (self._cost - self._spent) / self._spent)}" if self._open else ""
            ended = f"{result.metrics['accuracy']:.3f}" if result.status == "finished" else result.status
            log.print("  ".join(filter(None, (f"{done:>4}/{self._count}", eta, f"{spec.name}: {ended}"))))
            self._status.show(f"{done}/{self._count} runs", eta, share=self._spent / self._cost)
