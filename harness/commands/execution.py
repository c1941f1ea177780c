"""How the commands train runs: the data, the recorder, the display in the terminal, and the figures of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.report import RunLink
from harness.common.errors import BadInput
from harness.common.files import check_folder
from harness.common.lazy import lazy_import
from harness.data import Dataset, NotFound, load
from harness.engine.devices import idle_cores_advice, slow_engine_advice
from harness.execute.run_one import Displays, Execution
from harness.reporting.console import log
from harness.reporting.progress import RunDisplay, RunsDisplay
from harness.runs.earlier import adopt_earlier_runs
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result
from harness.runs.spec import RunResult
from harness.tracking.provenance import provenance
from harness.tracking.recorder import BundleRecorder, MlflowRecorder, Recorder

if TYPE_CHECKING:
    from harness.reporting import run_figures
else:
    # matplotlib is slow to import, and training does not need it.
    run_figures = lazy_import("harness.reporting.run_figures")


def _say(text: str) -> None:
    log.print(text)


TERMINAL = Displays(run=RunDisplay, runs=RunsDisplay, say=_say)


def choose_recorder(offline: Path | None) -> Recorder:
    """Return the recorder: bundles in the folder `offline`, or MLflow if it is None. Raises BadInput for no folder.

    Offline, this process and its child processes keep all runs in that folder; otherwise runs are in mlruns/.
    """
    if offline is None:
        adopt_earlier_runs()
        return MlflowRecorder()
    check_folder(offline, f"--offline {offline} cannot be written to")
    if provenance().get("git_dirty") == "true":
        log.print("The code here has changes that are in no commit: `harness evidence add` will refuse these runs.")
    # Set in the environment, so that child processes use the folder too.
    os.environ["HARNESS_MLRUNS"] = str(offline.resolve())
    return BundleRecorder()


def in_the_terminal(
    recorder: Recorder,
    *,
    probe: bool = True,
    workers: int | None = None,
    slurm: str | None = None,
    displays: Displays = TERMINAL,
) -> Execution:
    """Return an `Execution` that shows its runs in the terminal."""
    return Execution(recorder=recorder, displays=displays, draw=draw, probe=probe, workers=workers, slurm=slurm)


def links(results: Sequence[RunResult], recorder: Recorder) -> dict[str, RunLink]:
    """Return the link to the record of each run that is here, and not only in the evidence: run key -> link."""
    return {each.spec.config.key: recorder.link(each.folder) for each in results if isinstance(each.folder, RunFolder)}


def advise(engine: str, threads: int, at_once: int) -> None:
    """Print advice if the engine is slow on this machine, or `at_once` runs of some threads leave most cores idle."""
    for advice in filter(None, (slow_engine_advice(engine), idle_cores_advice(threads, at_once))):
        log.print(advice)


def draw(folder: RunFolder, name: str, result: Result, history: History) -> None:
    """Write the figures of a run into its artifacts folder."""
    run_figures.draw_run(folder, name, result, history)


def check_workers(workers: int | None) -> None:
    """Raise BadInput if the number of workers is less than 1."""
    if workers is not None and workers < 1:
        raise BadInput(f"Invalid value --workers {workers}: at least one process has to do the work.")


def find_data(which: str | None, *, may_fall_back: bool) -> Dataset:
    """Return the data set to use. may_fall_back: take the digits if there is no CIFAR-10, and tell the user."""
    try:
        return load(which)
    except NotFound as error:
        if which is not None or not may_fall_back:
            raise
        log.print(
            f"{error} This command goes on with scikit-learn's 1,797 handwritten digits, so that the machinery can be "
            f"seen working: its numbers are named `digits` everywhere and are never compared with 0.86.",
            style="bold",
        )
        return load("digits")
