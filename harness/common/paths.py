"""Where things are on disk. Every other module asks here."""

import os
from pathlib import Path

import platformdirs

PROJECT = Path(__file__).resolve().parent.parent.parent


_bundles: Path | None = None


def mlruns() -> Path:
    """The folder of everything runs leave behind: `mlruns/`, or `$HARNESS_MLRUNS`; offline, that of the bundles."""
    return (_bundles or Path(os.environ.get("HARNESS_MLRUNS") or PROJECT / "mlruns")).resolve()


def go_offline(bundles: Path | None) -> None:
    """From now on this process speaks to no MLflow, and writes its runs to a folder as bundles."""
    global _bundles
    _bundles = bundles


def is_offline() -> bool:
    """Whether this process has gone offline."""
    return _bundles is not None


def cache() -> Path:
    """Decoded and downloaded data, and compiled programs: `~/.cache/cnn-harness` on Linux, or `$HARNESS_CACHE`."""
    return Path(os.environ.get("HARNESS_CACHE") or platformdirs.user_cache_dir("cnn-harness"))
