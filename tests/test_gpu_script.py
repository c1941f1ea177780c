"""The script of the GPU campaign: what it packs, and that a trace sees the programs that runs use."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.common.paths import PROJECT

SCRIPT = ("sh", str(PROJECT / "experiments" / "gpu.sh"))


@pytest.mark.parametrize("given", ["bundles", "bundles/"])
def test_a_pack_has_no_checkpoints_and_no_profile(tmp_path: Path, given: str) -> None:
    kept = ["bundles/optuna.db", "bundles/runs/0a/artifacts/history.json", "bundles/runs/0a/bundle.json"]
    left = ["bundles/profile/plugins/trace.json.gz", "bundles/runs/0a/checkpoint.npz", "bundles/runs/0a/lock"]
    for name in (*kept, *left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    subprocess.run([*SCRIPT, "pack", given], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "bundles.tar.gz.aa") as packed:
        assert sorted(member.name for member in packed if member.isfile()) == kept


def test_the_wheels_and_the_list_of_the_campaign_name_all_that_a_machine_without_mlflow_needs() -> None:
    needed = (PROJECT / "docs" / "many-machines.md").read_text().partition("There it needs these packages:")[2]
    words = needed.partition("`python3")[0].split()
    assert "keras" in words
    campaign = PROJECT / "experiments" / "gpu"
    known = (campaign / "prepare.sh").read_text() + (campaign / "README.md").read_text()
    assert [word for word in words if not re.search(rf"\b{word}\b", known)] == []


def test_a_trace_begins_when_the_harness_has_set_the_compilers_flags(tmp_path: Path) -> None:
    """The flags are read when the backend starts, and a trace starts it."""
    python, site = tmp_path / "python", tmp_path / "site"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys, jax.profiler, os\n"
        "def trace(folder, **options):\n"
        "    sys.exit('flags: ' + os.environ.get('XLA_FLAGS', ''))\n"
        "jax.profiler.trace = trace\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "KERAS_BACKEND")}
    environment |= {"PYTHON": str(python), "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{site}:{PROJECT}"}
    tried = subprocess.run([*SCRIPT, "profile"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "flags: --xla_gpu_deterministic_ops=true" in tried.stderr
