"""Where things are on disk. Every other module asks here."""

import os
from pathlib import Path

import platformdirs

PROJECT = Path(__file__).resolve().parent.parent.parent


def mlruns() -> Path:
    """The folder of everything runs leave behind: `mlruns/`, or `$HARNESS_MLRUNS`."""
    return Path(os.environ.get("HARNESS_MLRUNS") or PROJECT / "mlruns").resolve()


def cache() -> Path:
    """Decoded and downloaded data, and compiled programs: `~/.cache/cnn-harness` on Linux, or `$HARNESS_CACHE`."""
    return Path(os.environ.get("HARNESS_CACHE") or platformdirs.user_cache_dir("cnn-harness"))
