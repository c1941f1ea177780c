"""The script of the GPU campaign: what it packs, and that a trace sees the programs that runs use."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from experiments.gpu.tell import tell_runs
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


def test_a_difference_is_told_between_runs_of_one_size_and_phase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def bundle(variant: str, images: int, phase: str, accuracy: float) -> None:
        folder = tmp_path / "runs" / f"{variant}{images}{phase}"
        folder.mkdir(parents=True)
        config = {"split": "final", "seed": 20, "train_images": images}
        spec = {"recipe": "fast", "experiment": "ablate_bn", "variant": variant, "changes": "", "phase": phase,
                "budget": "quick", "config": config}  # fmt: skip
        contents = {"bundle.json": {}, "spec.json": spec, "result.json": {"metrics": {"accuracy": accuracy}}}
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content))
        (folder / "metrics.jsonl").touch()

    for images, usual in ((5_000, 0.7), (500, 0.3)):
        bundle("baseline", images, "same recipe", usual)
        bundle("no norm", images, "same recipe", usual - 0.05)
    bundle("no norm", 5_000, "retuned", 0.69)
    tell_runs(tmp_path)
    told = [line for line in capsys.readouterr().out.splitlines() if "no norm" in line]
    assert [line.split()[-1] for line in told] == ["-0.0500", "-0.0500", "-0.0100"]
