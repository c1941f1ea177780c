"""Copy bundles without what is large: `python experiments/gpu/strip.py BUNDLES TO`.

Left out are figures, probabilities, and all checkpoints but that of the baseline with seed 0. `harness sync` imports
the copies.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

#: Files of a bundle that are not copied, if it has them.
LARGE = (".png", ".svg", "probabilities.npz")


def keeps_checkpoint(spec: dict[str, Any]) -> bool:
    """Whether the weights of this run are wanted: one run of the default recipe."""
    config = spec["config"]
    usual = spec["variant"] == "baseline" and spec["recipe"] == "fast" and not spec["changes"]
    return bool(usual and config["seed"] == 0 and config["split"] == "final")


def strip(bundle: Path, to: Path) -> None:
    """Copy one bundle, with a seal that names the files that are there, and the checkpoint."""
    seal = json.loads((bundle / "bundle.json").read_text())
    with_checkpoint = keeps_checkpoint(json.loads((bundle / "spec.json").read_text()))
    for name in list(seal["files"]):
        if name.endswith(LARGE):
            del seal["files"][name]
        elif name != "checkpoint.npz" or with_checkpoint:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, to / name)
    (to / "bundle.json").write_text(json.dumps(seal, indent=1))


def main() -> None:
    """Copy every sealed bundle, the tuning's documents, and the database of a search."""
    source, to = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for seal in sorted(source.glob("runs/*/bundle.json")):
        strip(seal.parent, to / "runs" / seal.parent.name)
    for file in (*source.glob("tuning-*.json"), *source.glob("optuna.db")):
        shutil.copyfile(file, to / file.name)


if __name__ == "__main__":
    main()
