"""`harness sync`: bundles that were made elsewhere become runs here, with their times, and their cells are done."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from harness import data
from harness.bundles import CHECKPOINT, Sealed, read_bundle
from harness.cells import check
from harness.data import Dataset
from harness.engine.importing import default_engine, import_keras
from harness.errors import BadInput, HarnessError
from harness.plan import images_of
from harness.report.console import log, out
from harness.runs import RunFolder, write_atomically
from harness.tracking import Tracker, is_tracked


def sync(directory: Path) -> dict[str, Any]:
    """Import every bundle under a directory; one that is refused does not keep the others out.

    Raises BadInput where there is none at all. A bundle that was imported before changes nothing.
    """
    found = sorted(file.parent for file in directory.rglob("cell.json"))
    if not found:
        raise BadInput(
            f"There is no bundle in {directory}. `harness run ... --offline DIR` writes them to DIR/runs/; give that "
            f"DIR, or the folder that its archive was unpacked to."
        )
    dataset: Dataset | None = None
    rows = []
    for number, path in enumerate(found, start=1):
        row = {"bundle": str(path), "name": "", "status": "", "reason": ""}
        try:
            if not (path / "bundle.json").exists():
                row["status"] = "unfinished"
                row["reason"] = "the command that writes it goes on with it where it was made"
            else:
                sealed = read_bundle(path)
                row["name"] = sealed.cell.name
                if dataset is None:
                    dataset = data.load("digits" if sealed.cell.config.data == "digits" else None)
                check(sealed.cell, dataset)
                row["status"] = _import(sealed, dataset)
        except HarnessError as error:
            row["status"], row["reason"] = "refused", str(error)
        log.print(f"{number:>4}/{len(found)}  {row['name'] or path.name}: {row['status']}", soft_wrap=True)
        rows.append(row)
    return {"directory": str(directory), "bundles": rows}


def _import(sealed: Sealed, dataset: Dataset) -> str:
    cell = sealed.cell
    folder = RunFolder(cell.config)
    with folder.locked():
        known = folder.result() is not None
        if known and is_tracked(folder):
            return "known"
        if not known:
            # The result last: with it the run is over here.
            for name in sorted(sealed.files, key=lambda name: name == "result.json"):
                (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
                if name == "result.json":
                    write_atomically(folder.path / name, (sealed.path / name).read_bytes())
                else:
                    shutil.copyfile(sealed.path / name, folder.path / name)
        result, history = folder.result(), folder.history()
        assert result
        images = images_of(cell.config, dataset).eval_images
        with Tracker(folder, cell.name, sealed.tags, sealed.source, (sealed.begun, sealed.ended)) as tracker:
            tracker.started(history)
            tracker.finish(result, history, _model(sealed, dataset), images)
    return "imported"


def _model(sealed: Sealed, dataset: Dataset) -> Any:
    """The trained network, where it is one to keep and its weights came along; else None."""
    if not sealed.cell.is_worth_a_portrait or CHECKPOINT not in sealed.files:
        return None
    import_keras(default_engine())
    from harness.engine.network import pixel_statistics
    from harness.engine.state import export

    config = sealed.cell.config
    with np.load(sealed.path / CHECKPOINT) as state:
        return export(config, pixel_statistics(images_of(config, dataset).train_images), state)


def print_sync(document: dict[str, Any]) -> None:
    """What became of the bundles: how many of each kind, and why some were not imported."""
    states = [row["status"] for row in document["bundles"]]
    counts = {status: states.count(status) for status in ("imported", "known", "unfinished", "refused")}
    out.print("  " + ", ".join(f"{count} {status}" for status, count in counts.items() if count))
    open_ones = [row for row in document["bundles"] if row["reason"]]
    if open_ones:
        table = Table("bundle", "", "why")
        for row in open_ones:
            table.add_row(Path(row["bundle"]).name, row["status"], row["reason"])
        out.print(table)
