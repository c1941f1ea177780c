"""Where a run was made: versions, hardware, commit."""

import platform
import subprocess
from importlib import metadata
from importlib.util import find_spec

from harness.common import paths
from harness.common.hardware import cpu_name

#: Those of these that are installed are told with their versions.
PACKAGES = ("jax", "keras", "mlflow", "numpy", "tensorflow")


def provenance() -> dict[str, str]:
    """Tags for a run; the commit is left out where there is no git."""
    return {
        **{f"version_{name}": metadata.version(name) for name in PACKAGES if find_spec(name)},
        "version_python": platform.python_version(),
        "cpu": cpu_name(),
        **_commit(),
    }


def _commit() -> dict[str, str]:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = "true" if git("status", "--porcelain") else "false"
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return {}
