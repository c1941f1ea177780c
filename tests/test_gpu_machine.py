"""What is installed, chosen and said on a machine with an NVIDIA driver, tried with a driver that is not there."""

import os
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness.common.errors import HarnessError
from harness.common.paths import PROJECT
from harness.engine import backend, devices
from harness.execute import workers

LISTED = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)"


def planned(tmp_path: Path, *options: str, listed: str = LISTED) -> str:
    """What `make install` would do where nvidia-smi says this."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{listed}"\n' if listed else "#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = ["make", "-n", "-B", "install", *options]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_installs_for_the_gpu_that_is_there_and_says_so(tmp_path: Path) -> None:
    text = planned(tmp_path)
    assert LISTED in text
    assert "2.5 GB" in text
    assert "GPU=0" in text
    assert "-r requirements-gpu.lock" in text


@pytest.mark.parametrize(("options", "listed"), [(["GPU=0"], LISTED), ([], "")])
def test_make_installs_nothing_for_a_gpu_that_is_not_wanted_or_not_there(
    tmp_path: Path, options: list[str], listed: str
) -> None:
    text = planned(tmp_path, *options, listed=listed)
    assert "-r requirements.lock" in text
    assert "GB" not in text


def test_both_lock_files_name_the_same_versions() -> None:
    def versions(name: str) -> set[str]:
        return {line.split("\\")[0].strip() for line in (PROJECT / name).read_text().splitlines() if "==" in line}

    added = {line.split("==")[0] for line in versions("requirements-gpu.lock") - versions("requirements.lock")}
    assert versions("requirements.lock") <= versions("requirements-gpu.lock")
    assert {name for name in added if not name.startswith("nvidia-")} == {"jax-cuda13-pjrt", "jax-cuda13-plugin"}


@pytest.mark.parametrize(
    ("driver", "plugin", "engine"), [(True, True, "jax"), (True, False, "tensorflow"), (False, True, "tensorflow")]
)
def test_the_engine_is_jax_where_it_can_use_a_gpu(
    monkeypatch: pytest.MonkeyPatch, driver: bool, plugin: bool, engine: str
) -> None:
    monkeypatch.setattr(backend, "has_gpu", lambda: driver)
    monkeypatch.setattr(backend.util, "find_spec", lambda name: object() if plugin and "13" in name else None)
    assert backend.automatic_engine() == engine


def test_a_gpu_that_tensorflow_does_not_see_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    backend.import_keras("tensorflow")
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    advice = devices.slow_engine_advice("tensorflow")
    assert "has an NVIDIA GPU, but TensorFlow does not see it (" in advice
    assert "--engine jax" in advice
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    assert devices.slow_engine_advice("tensorflow") == ""


@pytest.mark.parametrize(("gpus", "runs", "expected"), [(["0", "1", "2"], 10, 3), (["0", "1"], 1, 1), ([], 10, 1)])
def test_each_gpu_has_a_worker(monkeypatch: pytest.MonkeyPatch, gpus: list[str], runs: int, expected: int) -> None:
    monkeypatch.setattr(workers, "has_gpu", lambda: True)
    monkeypatch.setattr(workers, "gpus", lambda: gpus)
    assert workers.default_workers(runs) == expected


@pytest.mark.parametrize(
    ("cores", "runs", "threads", "expected"),
    [(2, 3, 2, 1), (2, 40, 2, 2), (16, 1, 2, 1), (16, 10, 2, 8), (16, 40, 2, 16), (16, 40, 8, 4), (1, 40, 2, 1)],
)
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, runs: int, threads: int, expected: int
) -> None:
    monkeypatch.setattr(workers, "has_gpu", lambda: False)
    monkeypatch.setattr(workers, "cores", lambda: list(range(cores)))
    monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: type("", (), {"available": 2**40}))
    assert workers.default_workers(runs, threads) == expected


def test_a_run_that_leaves_most_cores_idle_says_how_to_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    monkeypatch.setattr(devices, "cores", lambda: list(range(16)))
    assert "2 of 16 cores compute" in devices.idle_cores_advice(2, 1)
    assert "--set threads=16 " in devices.idle_cores_advice(2, 1)
    assert devices.idle_cores_advice(2, 8) == devices.idle_cores_advice(16, 1) == ""
    monkeypatch.setattr(devices, "cores", lambda: [0, 1])
    assert devices.idle_cores_advice(2, 1) == ""


@pytest.mark.parametrize(
    ("missing", "said"), [("jax", "JAX cannot be imported"), ("absl.logging", "Keras .* there is no usable absl ")]
)
def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str, said: str) -> None:
    def import_module(name: str) -> Mock:
        if (name == "jax") == (missing == "jax"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return Mock()

    for name in ("NPROC", "XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(backend.importlib, "import_module", import_module)
    with pytest.raises(HarnessError, match=said):
        backend._import_jax(2)
