"""Runs the tests of the JAX engine, in a process of their own: Keras takes one framework per process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from harness.common.hardware import has_gpu


def on_jax(file: str, *options: str) -> None:
    path = str(Path(__file__).parent / "on_jax" / file)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "", path, *options]
    # Programs that run for a moment: at its usual level the compiler takes twice as long, most of the time here.
    # What the user tells the compiler comes last, and counts.
    quickly = {"XLA_FLAGS": f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"}
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"} | quickly
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        pytest.fail(ran.stdout + ran.stderr, pytrace=False)


@pytest.mark.timeout(1200)  # a file of tests, each with a limit of its own
def test_the_engines_agree() -> None:
    on_jax("test_agreement.py")


@pytest.mark.timeout(1200)
def test_the_engine() -> None:
    on_jax("test_jax_engine.py")


JAX = ("run", "baseline", "--budget", "smoke", "--data", "digits", "--engine", "jax")


def test_without_jax_it_is_said_how_to_get_it(harness: Command, tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise ImportError('no jax here')\n")
    failed = harness(*JAX, PYTHONPATH=str(tmp_path))
    assert failed.returncode == 1
    assert "pip install jax" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.skipif(has_gpu(), reason="there is one")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(harness: Command) -> None:
    failed = harness(*JAX, JAX_PLATFORMS="cuda")
    assert failed.returncode == 1
    assert "JAX_PLATFORMS=cuda" in " ".join(failed.stderr.split())
    assert "Traceback" not in failed.stderr
