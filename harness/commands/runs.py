"""`harness runs` and `harness export`: list the runs on this disk, remove some, and take results elsewhere."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import tracking
from harness.commands.predict import find_kept, load_model
from harness.common import rounded
from harness.common.documents import read_bytes
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.files import atomic, write_atomically
from harness.common.lazy import lazy_import
from harness.common.paths import is_read_only, mlruns
from harness.recipes import named
from harness.reporting.model_card import model_card
from harness.reporting.tables import p_value
from harness.runs.folder import RunFolder, all_runs, key_called, run_at
from harness.runs.frames import load_epochs, load_runs
from harness.runs.spec import keeps_model

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

#: The columns of a report's table.csv that a LaTeX table has, and what they are called there.
LATEX = {
    "variant": "variant",
    "phase": "phase",
    "n": "$n$",
    "accuracy_mean": "accuracy",
    "accuracy_sd": "sd",
    "against_baseline_mean": "points",
    "against_baseline_interval_low": "low",
    "against_baseline_interval_high": "high",
    "against_baseline_p_holm": "$p$ (Holm)",
    "against_baseline_verdict": "verdict",
}

#: How their numbers are written: as everywhere else.
WRITTEN: dict[str, Callable[[float], str]] = {
    "accuracy_mean": rounded.accuracy,
    "accuracy_sd": rounded.accuracy,
    "against_baseline_mean": rounded.point,
    "against_baseline_interval_low": rounded.point,
    "against_baseline_interval_high": rounded.point,
    # LaTeX has another sign where text has a <.
    "against_baseline_p_holm": lambda value: p_value(value).replace("<", "$<$"),
}


def chosen_runs(where: Sequence[tuple[str, str]], sort: str) -> "pd.DataFrame":
    """Return the runs whose columns have these values, sorted by a column; a `-` before its name: largest first.

    Raises BadInput for a name that is no column.
    """
    frame = load_runs()
    columns = {name: name for name in map(str, frame.columns)}
    for name, value in where:
        column = frame[named("column of runs", columns, name)]
        # Of no rows, `map` makes no booleans.
        frame = frame[column.map(lambda found, wanted=value: _same(found, wanted)).astype(bool)]
    name = named("column of runs", columns, sort.removeprefix("-"))
    return frame.sort_values(name, ascending=not sort.startswith("-"), kind="stable", ignore_index=True)


def _same(found: object, wanted: str) -> bool:
    """Whether a value is the one that was typed: 0.040 is 0.04, and true is True."""
    if str(found).lower() == wanted.lower():
        return True
    with contextlib.suppress(TypeError, ValueError):
        return float(found) == float(wanted)  # type: ignore[arg-type]
    return False


def runs_called(keys: Sequence[str]) -> list[RunFolder]:
    """Return the runs whose keys begin so. Raises BadInput unless each is the beginning of exactly one."""
    # Those with a damaged file too, which no list has: they can be deleted.
    known = {file.parent.name: file.parent for file in (mlruns() / "runs").glob("*/config.json")}
    found = {}
    for start in keys:
        key = key_called(start, known)
        try:
            found[key] = run_at(known[key])
        except (OSError, ValueError) as error:
            raise BadInput(f"{known[key]} is no run that this version can read ({first_line(error)}).") from error
    return list(found.values())


def remove(runs: Sequence[RunFolder]) -> None:
    """Delete runs, on the disk and in MLflow. Raises HarnessError for one that is being trained."""
    for run in runs:
        with run.locked():
            tracking.delete(run)
            run.remove()


class Freed(NamedTuple):
    """What `collect_garbage` did: how many checkpoints it deleted, their bytes, and of how many runs it kept them
    because MLflow did not say whether it has these runs."""

    checkpoints: int
    size: int
    unsure: int


def collect_garbage(*, dry_run: bool) -> Freed:
    """Delete the checkpoints of the runs that have ended and that MLflow says it has.

    Results, histories and models stay: a run whose model is to be kept needs its checkpoint until MLflow has the model.
    A run that is being trained is left alone, and one with a damaged file, which is mended from its checkpoint. Raises
    HarnessError if `mlruns/` is read-only, or the database in it cannot be read.
    """
    if is_read_only():
        raise HarnessError(f"{mlruns()} is read-only: no checkpoint in it can be deleted.")
    sizes, unsure = [], 0
    for run in all_runs():
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(run.locked())
            except HarnessError:
                continue
            if run.damage():
                continue
            if _is_in_mlflow(run, if_silent=False):
                sizes.append(run.drop_checkpoint(dry_run=dry_run))
            elif run.checkpoint.exists() and _is_in_mlflow(run, if_silent=True):
                unsure += 1
    return Freed(sum(size > 0 for size in sizes), sum(sizes), unsure)


def _is_in_mlflow(run: RunFolder, *, if_silent: bool) -> bool:
    """Whether MLflow has a run, and its model if that is to be kept. if_silent: what to answer if MLflow does not."""
    tags = run.tags
    needs_model = keeps_model(tags.get("experiment", ""), tags.get("budget", ""))
    return tracking.is_tracked(run, if_silent=if_silent) and (
        not needs_model or tracking.has_model(run, if_silent=if_silent)
    )


def export_model(file: Path, run: str | None) -> str:
    """Save the model of a run as a Keras file; return its run key. run: the start of a key; None is the best run."""
    if file.suffix != ".keras":
        raise BadInput(f"Invalid value --keras {file}: the name of a Keras file ends in .keras.")
    folder, _, model = load_model(run)
    with tempfile.TemporaryDirectory() as new, atomic(file) as target:
        # Keras takes the name of a file only, and writes over what is there.
        model.save(f"{new}/model.keras")
        with open(f"{new}/model.keras", "rb") as saved:
            shutil.copyfileobj(saved, target)
    return folder.config.key


def export_card(file: Path, run: str | None) -> str:
    """Write the model card of a run that has a model; return its run key. run: as in `export_model`."""
    folder, result, _ = find_kept(run)
    write_atomically(file, model_card(folder, result, tracking.noted_command(folder)).encode())
    return folder.config.key


def export_epochs(file: Path) -> int:
    """Write one row for every epoch of every ended run to a Parquet file; return how many. Raises BadInput for none."""
    frame = load_epochs()
    if frame.empty:
        raise BadInput("There is no run that has ended, and so no epoch to write: `harness run baseline` trains one.")
    write_atomically(file, frame.to_parquet(index=False))
    return len(frame)


def export_latex(file: Path, report: Path | None) -> Path:
    """Write the table of a report as LaTeX (booktabs); return the report's folder.

    report: its folder; None is the newest in mlruns/reports. Raises BadInput if there is none, or if its table.csv
    is not that of an experiment's report.
    """
    # Comparisons of anybody's runs have a table too, and no report.json.
    reports = sorted((mlruns() / "reports").glob("*/report.json"), key=lambda each: each.stat().st_mtime)
    tables = [each.with_name("table.csv") for each in reports]
    table = report / "table.csv" if report else next(reversed(tables), None)
    if table is None or not table.is_file():
        known = ", ".join(str(each.parent) for each in tables) or "none yet: `harness run ablate_bn` makes one"
        raise BadInput(f"There is no table of a report in {report or mlruns() / 'reports'}. Reports: {known}.")
    try:
        frame = pd.read_csv(io.BytesIO(read_bytes(table)))
        if missing := [name for name in ("variant", "phase", "n") if name not in frame.columns]:
            raise ValueError(f"it has no column {missing[0]}")
        frame = frame[[name for name in LATEX if name in frame.columns]].rename(columns=LATEX)
        written: dict[Any, Any] = {LATEX[name]: write for name, write in WRITTEN.items()}
        styler = frame.style.hide(axis="index").format(written, na_rep="--", escape="latex")
        text = styler.to_latex(hrules=True)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{table} is no table of an experiment's report ({first_line(error)}): name the folder of one with "
            f"--report, or make it again with `harness compare`."
        ) from error
    write_atomically(file, text.encode())
    return table.parent
