"""The artifacts of a run that has ended: its figures, and the outputs for every evaluation image."""

from collections.abc import Callable

from harness.engine.loop import TrainedRun
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result
from harness.runs.spec import RunSpec

#: Draws the figures of a run into the run folder: (folder, name, result, history).
Draw = Callable[[RunFolder, str, Result, History], None]


def make_artifacts(folder: RunFolder, spec: RunSpec, ended: TrainedRun, draw: Draw) -> None:
    """Write the figures, if this run keeps them, and the probabilities of a run that finished."""
    folder.artifacts.mkdir(exist_ok=True)
    if spec.keeps_model:
        draw(folder, spec.name, ended.result, ended.history)
    if ended.result.status == "finished":
        folder.keep_probabilities(ended.probabilities)
