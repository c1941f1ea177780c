"""The runs on this disk as pandas frames: one row a run, or one row an epoch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.common.lazy import lazy_import
from harness.config import value_text
from harness.runs.folder import Damaged, RunFolder, all_runs, leave_out
from harness.source_hash import source_hash

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

#: The names that a run goes by in the experiment that trained it, as its environment records them.
NAMES = ("experiment", "variant", "budget", "recipe", "phase")

#: Where it was trained.
PLACE = ("device", "cpu", "git_commit")


def load_runs() -> "pd.DataFrame":
    """Return one row a run, the one that began last at the end; empty if there is none.

    Columns: run_key; the names of NAMES; seed; status (finished, diverged or unfinished) and reason; accuracy (share),
    cross_entropy (nats), training_seconds; epochs_done; pflop; begun (UTC); device, cpu, git_commit; stale (whether
    other code than the present one computed it); megabytes on the disk; and every setting of its config.
    """
    rows = _rows(lambda folder: [_row(folder)])
    frame = pd.DataFrame(rows, columns=None if rows else ["run_key", *NAMES, "seed", "status", "accuracy", "begun"])
    frame["begun"] = pd.to_datetime(frame["begun"], unit="ms", utc=True)
    return frame.sort_values(["begun", "run_key"], ignore_index=True)


def load_epochs() -> "pd.DataFrame":
    """Return one row for every epoch of every run that has ended: run_key, NAMES, seed, and the epoch's metrics."""
    rows = _rows(lambda folder: [{**_names(folder), **row} for row in folder.history() if folder.result() is not None])
    return pd.DataFrame(rows, columns=None if rows else ["run_key", *NAMES, "seed", "epoch"])


def _rows(rows_of: Callable[[RunFolder], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of all runs but those with a damaged file, which is named."""
    rows = []
    for folder in all_runs():
        try:
            rows += rows_of(folder)
        except Damaged as error:
            leave_out(str(error))
    return rows


def _names(folder: RunFolder) -> dict[str, Any]:
    tags = folder.tags
    return {"run_key": folder.config.key, **{name: tags.get(name) for name in NAMES}, "seed": folder.config.seed}


def _row(folder: RunFolder) -> dict[str, Any]:
    result, tags, config = folder.result(), folder.tags, folder.config
    history = folder.history()
    settings = {name: value_text(value) if isinstance(value, tuple) else value for name, value in config.flat().items()}
    return {
        **_names(folder),
        "status": result.status if result else "unfinished",
        "reason": result.reason if result else "",
        **{name: result.metrics.get(name) if result else None for name in ("accuracy", "cross_entropy")},
        "training_seconds": result.metrics.get("training_seconds") if result else None,
        "epochs_done": len(history),
        "pflop": history[-1].get("pflop", 0.0) if history else 0.0,
        "begun": folder.begun(),
        **{name: tags.get(name) for name in PLACE},
        "stale": config.source != source_hash(config.engine),
        "megabytes": folder.size() / 1e6,
        **{name: value for name, value in settings.items() if name not in ("seed", "recipe")},
    }
