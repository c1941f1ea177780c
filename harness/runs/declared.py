"""The design of an experiment's first command, kept beside the runs: seeds that are added after a look are no evidence.

    mlruns/designs/<experiment>-<hash>.json     what was asked, the seeds and looks, and when

A command with other seeds for the same question is exploratory from then on, as its seeds may have been chosen by what
was seen. One seed alone declares nothing: it can give no verdict.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.common import paths
from harness.common.documents import read_json
from harness.common.errors import BadInput
from harness.common.files import write_atomically


def declare(about: Mapping[str, str], seeds: Sequence[int], looks: Sequence[int]) -> None:
    """Keep a design before its first run, unless there is one. about: what is asked; `experiment` is its name.

    Where nothing can be written there will be no run: what is done is shown.
    """
    file = _file(about)
    if looks[-1] > 1 and not file.exists() and not paths.is_read_only():
        document = {**about, "seeds": list(seeds), "looks": list(looks), "declared": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(document, indent=1).encode())


def contradicts(about: Mapping[str, str], seeds: Sequence[int], looks: Sequence[int]) -> bool:
    """Whether another design was declared for the same question. Raises BadInput for a file that cannot be read."""
    file = _file(about)
    if looks[-1] < 2 or not file.exists():
        return False
    kept = _read(file, about)
    return (kept["seeds"], kept["looks"]) != (list(seeds), list(looks))


def is_varied(about: Mapping[str, str], word: str) -> bool:
    """Whether a design was declared for the same question but for one word of it. Raises BadInput as `contradicts`."""
    kept = [_read(file, about) for file in (paths.mlruns() / "designs").glob(f"{_stem(about)}-*.json")]
    same = [each for each in kept if all(each.get(name) == about[name] for name in about if name != word)]
    return any(each.get(word) != about[word] for each in same)


def _file(about: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    return paths.mlruns() / "designs" / f"{_stem(about)}-{digest}.json"


def _stem(about: Mapping[str, str]) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in about["experiment"])


def _read(file: Path, about: Mapping[str, str]) -> dict[str, str | list[int]]:
    try:
        kept: dict[str, str | list[int]] = read_json(file, dict[str, str | list[int]])
        if missing := {"seeds", "looks"} - kept.keys():
            raise ValueError(f"it has no {min(missing)}")
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{file} holds no design ({error}): it says which seeds were declared. Take it from a backup, or delete it "
            f"if nothing of {about['experiment']} was looked at yet."
        ) from error
    return kept
