"""The terminal: progress while a run trains, and the summary when it is over."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from harness import notebook
from harness.config import RunConfig
from harness.runs import History

#: Results go to stdout, everything about the work to stderr: `--json` leaves stdout to the one document.
out = Console()
log = Console(stderr=True, highlight=False)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunDisplay:
    """Watches one run: a live line in a terminal, one plain line an epoch where output is piped."""

    def __init__(self, name: str, config: RunConfig) -> None:
        self.name, self.config = name, config
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[status]}"),
            console=log, disable=not log.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task(name, total=config.recipe.epochs, status="")
        self._epochs_done = 0
        self._seconds: list[float] = []
        self._last = ""
        self._announced = False

    def __enter__(self) -> "RunDisplay":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def started(self, history: History) -> None:
        """Say where a resumed run goes on."""
        self._epochs_done = len(history)
        if history:
            log.print(f"{self.name}: going on after epoch {len(history)} of {self.config.recipe.epochs}")
        self._begin = time.perf_counter()

    def step(self, done: int, steps_per_epoch: int) -> None:
        """Move the bar; the first steps, which compile, are left out of the speed."""
        warm = min(3, steps_per_epoch)
        now = time.perf_counter()
        if done == 1:
            self._begin = now
        if done < warm or done == 1:
            return
        rate = (done - 1) * self.config.recipe.batch_size / max(now - self._begin, 1e-9)
        epochs_left = self.config.recipe.epochs - self._epochs_done - done / steps_per_epoch
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else self.config.train_images / rate
        eta = duration(epochs_left * mean)
        self._progress.update(
            self._task,
            completed=self._epochs_done + done / steps_per_epoch,
            description=f"{self.name}  epoch {self._epochs_done + 1}/{self.config.recipe.epochs}",
            status=f"{rate:.0f} images/s  {self._last}  ETA {eta}",
        )
        if not self._announced and (now - self._begin > 5 or done == steps_per_epoch):
            self._announced = True
            if not log.is_terminal:
                log.print(f"{self.name}: {rate:.0f} images/s, about {eta} for the {epochs_left:.1f} epochs left")

    def epoch(self, row: dict[str, float]) -> None:
        """Show what an epoch brought."""
        self._epochs_done += 1
        self._seconds.append(row["epoch_seconds"])
        judged = "test" if "test_loss" in row else "validation"
        self._last = (
            f"train {row['train_loss']:.3f} / {row['train_accuracy']:.3f}  "
            f"{judged} {row[f'{judged}_loss']:.3f} / {row[f'{judged}_accuracy']:.3f}"
        )
        left = (self.config.recipe.epochs - self._epochs_done) * sum(self._seconds) / len(self._seconds)
        log.print(
            f"{self.name}  epoch {self._epochs_done:>3}/{self.config.recipe.epochs}  {self._last}  "
            f"{row['images_per_second']:.0f} images/s" + (f"  ETA {duration(left)}" if left else ""),
            soft_wrap=True,
        )


def summary(document: dict[str, Any]) -> None:
    """The table at the end of `harness run`, from the document that `--json` prints."""
    for run in document["runs"]:
        if run["status"] == "diverged":
            out.print(f"[bold red]{run['name']} diverged[/]: {run['reason']}.")
    for variant in document["variants"]:
        if variant["n"] > variant["diverged"]:
            out.print(_table(document, variant))
            what = [document["data"], f"{document['budget']} budget", f"{document['split']} split"]
            what += [f"{variant['epochs']} epochs", document["precision"], variant["note"]]
            _line("  " + " · ".join(filter(None, what)))
    if any(run["trained"] for run in document["runs"]) and all(
        v["n"] < 2 and v["compared"] for v in document["variants"]
    ):
        _line("  One run is no verdict: `make baseline SEEDS=10` gives one.")
    for run in document["runs"]:
        _line(f"  {run['name']}  run {run['run_key']}")
        if run["training_seconds"]:
            _line(f"    {_cost(run)}")
        apart = run["distance_to_published"]
        if apart and document["recipe"] == "published":
            _line(
                f"    test accuracy is {apart['mean']:.3f} from the published curve over {apart['epochs']:.0f} epochs, "
                f"at most {apart['largest']:.3f} (epoch {apart['epoch']:.0f})"
            )
        _line(f"    figures {run['artifacts']}")
        if run["url"]:
            _line(f"    {'`make ui`, then ' if '//127.0.0.1:' in run['url'] else ''}{run['url']}")


def _cost(run: dict[str, Any]) -> str:
    cost = f"{run['pflop']:.3f} PFLOP in {duration(run['training_seconds'])}"
    if not run["trained"]:
        return f"{cost}; was done already (--fresh trains it again)"
    share = run["tracking_seconds"] / (run["training_seconds"] + run["tracking_seconds"])
    return f"{cost}; tracking took {run['tracking_seconds']:.1f} s, {share:.1%} of the time"


def _line(text: str) -> None:
    # Paths and names are shown as they are: brackets in them are no markup, and a link must not be broken.
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(document: dict[str, Any], variant: dict[str, Any]) -> Table:
    words = [variant["variant"], f"recipe {document['recipe']}", f"n = {variant['n']}"]
    table = Table(title=" · ".join(words), title_justify="left")
    for column in ("", "this network", "target", "published", "verdict"):
        table.add_column(column)
    for name, label, target, theirs in (
        ("accuracy", "accuracy", f"≥ {notebook.ACCURACY_TARGET:.2f}", "test_accuracy"),
        ("cross_entropy", "cross-entropy", f"< {notebook.CROSS_ENTROPY_TARGET:.2f}", "test_loss"),
    ):
        measured = variant[name]
        cell = f"{measured['mean']:.4f}"
        if measured["interval"]:
            low, high = measured["interval"]
            cell += f"  [{low:.4f}, {high:.4f}]"
        compared = (target, f"{notebook.final()[theirs]:.3f}") if variant["compared"] else ("–", "–")
        table.add_row(label, cell, *compared, measured["verdict"])
    return table
