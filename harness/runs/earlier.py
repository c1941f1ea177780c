"""Give runs of an earlier version of this code their new run keys, if that version computed the same numbers."""

import contextlib
import json
import os

from harness.common import paths
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.config import from_json
from harness.source_hash import source_hash

#: Engine -> (source hash in commit 517c05f, which hashed the code in another way; source hash of the code that computes
#: the same bits). For any other code nothing is renamed.
SAME_NUMBERS = {"tensorflow": ("4714eddaa23c", "64ea62855d85")}

#: Settings that the earlier version did not have, each with the value that it used implicitly.
SINCE = {"network": {"pooling": "max"}}


def adopt_earlier_runs() -> int:
    """Rename the run folders of the earlier version in `mlruns/` to their new keys; return how many there were.

    After a kill, a folder may still have its old name; the next call renames it.
    """
    adopted = 0
    for file in (paths.mlruns() / "runs").glob("*/config.json"):
        # Skip folders whose config this code cannot read.
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
