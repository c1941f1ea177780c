"""Runs the tests of the JAX engine, in a process of their own: Keras takes one framework per process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def on_jax(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "", str(Path(__file__).parent / "on_jax" / file)]
    ran = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    if ran.returncode != 0:
        pytest.fail(ran.stdout + ran.stderr, pytrace=False)


def test_the_engines_agree() -> None:
    on_jax("test_agreement.py")


def test_the_engine() -> None:
    on_jax("test_jax_engine.py")
