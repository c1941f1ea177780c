"""Give runs of earlier versions of this code their new run keys, if those versions computed the same numbers."""

import contextlib
import json
import os
from typing import Any

from harness.common import paths
from harness.common.documents import read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically
from harness.config import from_json
from harness.source_hash import source_hash

#: Engine -> (source hashes of earlier versions, source hash of the code that computes the same bits). For any other
#: code nothing is renamed. 4714eddaa23c is commit 517c05f, which hashed the code in another way.
SAME_NUMBERS: dict[str, tuple[tuple[str, ...], str]] = {
    "tensorflow": (("4714eddaa23c", "64ea62855d85", "cf5df464d6a5"), "286e80c06030"),
}

#: Training images of the smaller split of CIFAR-10. When asked for fewer, earlier versions took other images.
ALL_IMAGES = 45_000

#: Settings that some earlier version did not have, each with the value that it used implicitly.
SINCE = {"network": {"pooling": "max"}}


def adopt_earlier_runs() -> int:
    """Rename the run folders of earlier versions in `mlruns/` to their new keys; return how many there were.

    After a kill, a folder may still have its old name; the next call renames it.
    """
    adopted = 0
    if paths.is_read_only():
        return adopted
    for file in (paths.mlruns() / "runs").glob("*/config.json"):
        # Skip folders whose config this code cannot read.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BadInput):
            values = read_json(file, dict[str, Any])
            before, now = SAME_NUMBERS.get(values["engine"], ((), ""))
            if values["source"] not in (*before, now) or source_hash(values["engine"]) != now:
                continue
            if values["train_images"] < ALL_IMAGES:
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
