"""Write every run of some bundles to one file, a line of JSON each: `python -m experiments.gpu.rows OUT BUNDLES...`.

A line has the run's key, spec, result and history, and where it was trained. OUT is compressed (.jsonl.gz).
"""

import dataclasses
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from harness.runs.bundle import read_bundle


def row(bundle: Path) -> dict[str, Any]:
    """Return what is kept of a bundle: everything but its weights. Raises BadInput if it is damaged."""
    sealed = read_bundle(bundle)
    return {
        "run_key": bundle.name,
        "spec": json.loads(sealed.spec.to_json()),
        "result": dataclasses.asdict(sealed.result),
        "history": sealed.history,
        "begun": sealed.begun,
        "ended": sealed.ended,
        "environment": sealed.tags,
    }


def main() -> None:
    """Write the lines in the order of the run keys, so that the same runs give the same file."""
    out, folders = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    bundles = sorted(
        (file.parent for folder in folders for file in folder.glob("runs/*/bundle.json")), key=lambda b: b.name
    )
    text = "".join(f"{json.dumps(row(bundle), sort_keys=True)}\n" for bundle in bundles)
    out.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(bundles)} runs in {out}")


if __name__ == "__main__":
    main()
