"""`harness sync`: import bundles from other machines, with their times. The imported runs count as done here."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import data, tracking
from harness.commands.execution import draw
from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.common.lazy import lazy_import
from harness.data import Dataset
from harness.execute.ended import copy_file, record_ended, take_in, trained_model
from harness.execute.run_one import check, is_done
from harness.reporting.console import log, out, print_rows
from harness.runs.bundle import Sealed, is_sealed, is_whole, read_bundle
from harness.runs.folder import CHECKPOINT, Damaged, RunFolder
from harness.runs.records import decisive_differences
from harness.tracking.champion import crown
from harness.tracking.recorder import MlflowRecorder

if TYPE_CHECKING:
    from harness.search import import_search
else:
    # Optuna is slow to import, and most bundles come without a search.
    import_search = lazy_import("harness.search.import_search")

#: A folder with one of these files is a bundle, or a part of one.
SIGNS = ("bundle.json", "spec.json", "config.json")


def sync(directory: Path) -> dict[str, Any]:
    """Import every bundle and every search under a directory; return a document with the status of each.

    A refused bundle does not stop the others. A bundle that was imported before changes nothing. Raises BadInput if
    there is no bundle, and HarnessError if the cause of a failure is not a bundle but MLflow, the disk or the data.
    """
    found = sorted({file.parent for sign in SIGNS for file in directory.resolve().rglob(sign)})
    found = [path for path in found if not path.is_relative_to(paths.mlruns())]
    if not found:
        raise BadInput(
            f"There is no bundle in {directory}. `harness run ... --offline DIR` writes them to DIR/runs/; give that "
            f"DIR, or the folder that its archive was unpacked to."
        )
    with tracking.explained():
        tracking.open_mlflow()
    datasets: dict[str, Dataset] = {}
    rows = []
    for number, path in enumerate(found, start=1):
        row = {"bundle": str(path), "name": "", "status": "", "reason": ""}
        if (path / "spec.json").exists() and not (path / "bundle.json").exists():
            row["status"] = "unfinished"
            row["reason"] = "the command that writes it goes on with it where it was made"
        else:
            try:
                sealed = read_bundle(path)
                row["name"] = sealed.spec.name
                which = sealed.spec.config.data
                if which not in datasets:
                    datasets[which] = data.load_named(which)
                check(sealed.spec, datasets[which])
            except HarnessError as error:
                row["status"], row["reason"] = "refused", str(error)
            else:
                try:
                    row["status"] = _import(sealed, datasets[which])
                    row["reason"] = _other_result(sealed)
                except BadInput as error:
                    row["status"], row["reason"] = "refused", str(error)
        log.print(f"{number:>4}/{len(found)}  {row['name'] or path.name}: {row['status']}")
        rows.append(row)
    crown()
    searches = [row for database in sorted(directory.resolve().rglob("optuna.db")) for row in _searches_in(database)]
    return {"directory": str(directory), "bundles": rows, "searches": searches}


def _searches_in(database: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = import_search.take_in_searches(database)
    for row in rows:
        log.print(f"study {row['search']}: {row['status']}")
    return rows


def _import(sealed: Sealed, dataset: Dataset) -> str:
    """Import a bundle; return its status. Raises BadInput if its content is wrong; nothing of it is kept then."""
    folder, recorder = RunFolder(sealed.spec.config), MlflowRecorder()
    # The checkpoint may have been left out of the first copy of a bundle.
    brings_model = CHECKPOINT in sealed.files and not folder.checkpoint.exists()
    if not brings_model and is_done(sealed.spec, recorder):
        return "known"
    model = trained_model(sealed.path, sealed.spec, sealed.result, dataset)
    with folder.locked(wait=True):
        if _is_kept(folder, sealed):
            return "known"
        if folder.damage() or folder.result() is None or not is_whole(folder):
            take_in(sealed, folder, draw)
        elif brings_model:
            copy_file(sealed, folder, CHECKPOINT)
        if is_done(sealed.spec, recorder):
            return "known"
        record_ended(folder, sealed.spec, recorder, dataset, draw, model)
    return "imported"


def _is_kept(folder: RunFolder, sealed: Sealed) -> bool:
    """Whether a run here stays as it is, damaged or not, because it has or may have other bits than a bundle.

    One that was trained here is mended by its command, as long as its result or its checkpoint is whole; one that was
    imported is mended by the bundle that it came in.
    """
    try:
        ours = folder.result()
    except Damaged:
        # A checkpoint that can be read gives the result again.
        with contextlib.suppress(BadInput):
            return not is_sealed(folder) and folder.load() is not None
        return False
    return ours is not None and not (is_sealed(folder) and ours == sealed.result)


def _other_result(sealed: Sealed) -> str:
    """Return what is damaged in the run here, or how its result differs from a bundle's, as text; empty if nothing is.

    Threads, processor and versions are not in the run key, and may change the last bits.
    """
    folder = RunFolder(sealed.spec.config)
    if damage := folder.damage():
        return next(iter(damage.values()))
    ours, theirs = folder.result(), sealed.result
    if ours is None or ours.weights_sha256 == theirs.weights_sha256 or ours.measured_by != theirs.measured_by:
        return ""
    differences = decisive_differences(folder.tags, sealed.tags)
    differs = ", ".join(f"{name} {here} here, {there} there" for name, (here, there) in differences.items())
    return f"its weights are not those of the run here ({differs or 'in the same environment'}); the one here is kept"


def print_sync(document: dict[str, Any]) -> None:
    """Print how many bundles have each status, and why some bundles and searches were not imported."""
    states = [row["status"] for row in document["bundles"]]
    counts = {status: states.count(status) for status in ("imported", "known", "unfinished", "refused")}
    out.print("  " + ", ".join(f"{count} {status}" for status, count in counts.items() if count))
    names = [(row, Path(row["bundle"]).name) for row in document["bundles"]]
    names += [(row, row["search"]) for row in document["searches"]]
    open_ones = [(row, name) for row, name in names if row["reason"]]
    if open_ones:
        print_rows(["bundle or search", "", "why"], [[name, row["status"], row["reason"]] for row, name in open_ones])
