"""The provenance of a run: versions, hardware, commit."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata

from harness.common import paths
from harness.common.errors import BadInput
from harness.common.hardware import cpu_name

#: The packages whose versions are recorded, if they are installed.
PACKAGES = ("jax", "keras", "mlflow", "numpy", "tensorflow")


#: Environment variables that may change the last bits of what a framework computes. Those that change more than that
#: are removed (harness/engine/backend.py).
SWITCHES = ("TF_CUDNN_DETERMINISTIC", "TF_NUM_INTEROP_THREADS", "XLA_FLAGS")


def provenance() -> dict[str, str]:
    """Return the tags that say where a run was trained. Without git there are no tags of the commit."""
    return {
        **_versions(),
        "version_python": platform.python_version(),
        "cpu": cpu_name(),
        **_switches(),
        **_commit(),
    }


def _switches() -> dict[str, str]:
    """Return those of SWITCHES that are set, as one tag; no tag if none is set."""
    found = " ".join(f"{name}={os.environ[name]}" for name in SWITCHES if os.environ.get(name))
    return {"switches": found} if found else {}


def _versions() -> dict[str, str]:
    found = {f"version_{name}": version(name) for name in PACKAGES}
    return {name: each for name, each in found.items() if each}


def version(module: str) -> str:
    """Return the version of an installed module, "" if it is not installed or has none."""
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        # Installed under another name, as TensorFlow is by tensorflow-cpu or by the maker of a machine.
        return str(getattr(sys.modules.get(module), "__version__", ""))


def full_hash(commit: str) -> str:
    """Return the whole hash of a commit of this repository. Raises BadInput if there is none of that name."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInput(
            f"--commit {commit}: there is no such commit in {paths.PROJECT}. `git log` lists them."
        ) from error


def _git(*arguments: str) -> str:
    # A hook of git, which may have started this process, names another repository in these.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(paths.PROJECT), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, env=environment
    ).stdout.strip()


# Once a process: it goes on with the code that it has imported, whatever is checked out meanwhile.
@cache
def _commit() -> dict[str, str]:
    try:
        # A copy without .git may lie inside another repository, which does not track it.
        _git("ls-files", "--error-unmatch", "pyproject.toml", "harness/__init__.py")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
        # A list of runs, a table or a model that a command has written here is no code.
        added = _git(
            "ls-files", "--others", "--exclude-standard", "--", ":(glob)harness/**", ":(glob)experiments/**/*.py"
        )
        return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": "true" if changed or added else "false"}
    except (OSError, subprocess.CalledProcessError):
        return {}
