"""The hash of the code that decides numbers: blind to where and how it is written, not to what it computes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.common.paths import PROJECT
from harness.source_hash import canonical_definitions, hash_of

CODE = """
from harness.engine import network
import numpy as np

def step(rate: float, steps: int = 3) -> float:
    \"\"\"One step.\"\"\"
    if rate < 0:
        raise ValueError(f"{rate} is negative")
    return np.sqrt(rate) * network.factor(steps)  # the whole of it
"""


def hashed(tmp_path: Path, *sources: str) -> str:
    files = [tmp_path / f"module_{number}.py" for number in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        file.write_text(source)
    return hash_of(files)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda code: "# a comment\n" + code.replace("One step.", "Other words."),
        lambda code: code.replace("import numpy as np", "from numpy import sqrt").replace("np.sqrt", "sqrt"),
        lambda code: code.replace("import network", "import network as net").replace("network.factor", "net.factor"),
        lambda code: code.replace(
            "from harness.engine import network", "from harness.engine.network import factor"
        ).replace("network.factor", "factor"),
        lambda code: code.replace("rate: float, steps: int = 3) -> float", "rate, steps=3)"),
        lambda code: code.replace("is negative", "cannot be below zero"),
        lambda code: code.replace("(rate) * ", "(\n        rate\n    ) * "),
    ],
)
def test_what_computes_nothing_is_not_seen(tmp_path: Path, rewrite) -> None:
    assert rewrite(CODE) != CODE
    assert hashed(tmp_path, rewrite(CODE)) == hashed(tmp_path, CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("rate < 0", "rate <= 0"), ("= 3", "= 4"), (") * network", ") / network"), ("np.sqrt", "np.cbrt"),
     ("import numpy", "import jax.numpy"), ("network.factor", "network.ramp")],
)  # fmt: skip
def test_what_computes_is_seen(tmp_path: Path, old: str, new: str) -> None:
    assert hashed(tmp_path, CODE.replace(old, new)) != hashed(tmp_path, CODE)


def test_definitions_may_move_between_modules(tmp_path: Path) -> None:
    more = "def double(x):\n    return 2 * x\n"
    assert hashed(tmp_path, CODE, more) == hashed(tmp_path, more + CODE)


def test_the_fields_of_a_dataclass_are_seen() -> None:
    one, other = ("class A:\n    a: int\n    b: int = 1\n", "class A:\n    b: int = 1\n    a: int\n")
    assert canonical_definitions(one) != canonical_definitions(other)


def test_a_module_that_moves_keeps_the_hash_and_an_operator_that_changes_does_not(tmp_path: Path) -> None:
    """In a copy of the whole package: `engine/network.py` moves and is renamed, and whoever uses it imports it anew."""

    def hash_there() -> str:
        code = "from harness.source_hash import source_hash; print(source_hash('tensorflow'), source_hash('jax'))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return ran.stdout

    package = tmp_path / "harness"
    shutil.copytree(PROJECT / "harness", package, ignore=shutil.ignore_patterns("__pycache__"))
    before = hash_there()
    moved = package / "engine" / "layers" / "cnn.py"
    moved.parent.mkdir()
    (package / "engine" / "network.py").rename(moved)
    for file in package.rglob("*.py"):
        text = file.read_text().replace("harness.engine.network import", "harness.engine.layers.cnn import")
        file.write_text(text.replace('"engine/network.py"', '"engine/layers/cnn.py"'))
    assert hash_there() == before
    moved.write_text(re.sub(r"np\.square\(std\)", "np.sqrt(std)", moved.read_text()))
    assert hash_there() != before
