"""Runs that an earlier version of this code trained, to the same numbers: they are given the keys of today."""

import contextlib
import json
import os

from harness.common import paths
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.config import from_json
from harness.source_hash import source_hash

#: By engine: the hash of the code of commit 517c05f, which had another way to hash it, and that of the code which
#: computes the same bits. With any other code there is nothing to be done here.
SAME_NUMBERS = {"tensorflow": ("4714eddaa23c", "64ea62855d85")}

#: Settings that the earlier version did not have, at the value that it computed with.
SINCE = {"network": {"pooling": "max"}}


def adopt_earlier_runs() -> int:
    """Give the runs of the earlier version in `mlruns/` their new keys and folders; returns how many there were.

    A kill leaves a folder under its old name, which the next call renames.
    """
    adopted = 0
    for file in (paths.mlruns() / "runs").glob("*/config.json"):
        # What cannot be read is no run that this code understands.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BadInput):
            values = json.loads(file.read_text())
            before, now = SAME_NUMBERS.get(values["engine"], ("", ""))
            if values["source"] not in (before, now) or source_hash(values["engine"]) != now:
                continue
            values["source"] = now
            for part, settings in SINCE.items():
                values[part] = settings | values[part]
            config = from_json(json.dumps(values))
            target = file.parent.with_name(config.key)
            if target != file.parent and not target.exists():
                write_atomically(file, config.to_json().encode())
                os.rename(file.parent, target)
                adopted += 1
    return adopted
