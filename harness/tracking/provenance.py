"""The provenance of a run: versions, hardware, commit."""

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from importlib.util import find_spec

from harness.common import paths
from harness.common.hardware import cores, cpu_name

#: The packages whose versions are recorded, if they are installed.
PACKAGES = ("jax", "keras", "mlflow", "numpy", "tensorflow")


#: Environment variables that change the numbers that a framework computes, or their last bits.
SWITCHES = (
    "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
    "TF_CUDNN_DETERMINISTIC", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS",
    "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "TF_XLA_FLAGS", "XLA_FLAGS",
)  # fmt: skip


def provenance() -> dict[str, str]:
    """Return the tags that say where a run was trained. Without git there are no tags of the commit."""
    return {
        **_versions(),
        "version_python": platform.python_version(),
        "cpu": cpu_name(),
        "threads": str(len(cores())),
        **_switches(),
        **_commit(),
    }


def _switches() -> dict[str, str]:
    """Return those of SWITCHES that are set, as one tag; no tag if none is set."""
    found = " ".join(f"{name}={os.environ[name]}" for name in SWITCHES if os.environ.get(name))
    return {"switches": found} if found else {}


@cache
def _versions() -> dict[str, str]:
    return {f"version_{name}": metadata.version(name) for name in PACKAGES if find_spec(name)}


# Once a process: it goes on with the code that it has imported, whatever is checked out meanwhile.
@cache
def _commit() -> dict[str, str]:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = "true" if git("status", "--porcelain") else "false"
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return {}
