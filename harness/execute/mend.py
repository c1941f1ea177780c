"""Make a run with damaged files whole again, from the files that are whole; what cannot be mended is trained again."""

import os
from collections.abc import Callable

from harness.common.errors import BadInput
from harness.runs.bundle import is_sealed
from harness.runs.folder import CHECKPOINT, CONFIG, ENVIRONMENT, HISTORY, RESULT, RunFolder
from harness.runs.spec import RunSpec
from harness.tracking.recorder import Recorder


def mend(folder: RunFolder, spec: RunSpec, recorder: Recorder, say: Callable[[str], None]) -> None:
    """Mend a run, and name what was damaged. The caller holds the folder's lock.

    Afterwards the run has ended and all of its files are whole, or it counts as not finished: training it then goes on
    from its checkpoint, which makes its end again, or begins anew if that is damaged too. One that has not ended may
    have a damaged environment. Raises BadInput for the run of a bundle that was imported: its checkpoint is of another
    machine.
    """
    damage = folder.damage()
    if not damage:
        return
    if is_sealed(folder) and not recorder.offline:
        raise BadInput(
            f"{next(iter(damage.values()))} This run came in a bundle: `harness sync DIR` with that bundle mends it; "
            f"with --fresh it is trained here."
        )
    for text in damage.values():
        say(f"{spec.name}: {text}")
    if ENVIRONMENT in damage:
        folder.forget_environment()
    if not (folder.path / RESULT).exists():
        return
    # Who has the lock has written config.json anew.
    derived = damage.keys() - {CONFIG, ENVIRONMENT, HISTORY, RESULT}
    if {HISTORY, RESULT} & damage.keys() or (derived and folder.checkpoint.exists()):
        folder.reopen()
        return
    # Result and history are whole: what they do not give, the outputs for each image, nobody needs.
    for name in derived:
        (folder.path / name).unlink(missing_ok=True)
    folder.seal((folder.path / RESULT).read_bytes())


def set_aside_a_damaged_checkpoint(folder: RunFolder, spec: RunSpec, say: Callable[[str], None]) -> None:
    """If the checkpoint cannot be read, rename it, so that it is not read."""
    try:
        folder.load()
    except BadInput:
        aside = folder.path / f"{CHECKPOINT}.damaged"
        os.replace(folder.checkpoint, aside)
        then = "the run starts over" if folder.result() is None else "its model cannot be made again without --fresh"
        say(f"{spec.name}: its checkpoint is damaged and {then}. The damaged file is kept: {aside}")
