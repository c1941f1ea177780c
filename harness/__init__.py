"""A research harness that answers "why does this CNN work?" with evidence.

Importing this package imports neither TensorFlow nor MLflow: `harness --help` answers at once, and a
machine without TensorFlow can still use every part that does not train with it.
"""

from typing import TYPE_CHECKING, Any

from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from harness.runs import frames
    from harness.runs.frames import load_epochs, load_runs
else:
    frames = lazy_import("harness.runs.frames")

#: As in pyproject.toml. A machine without network runs the project's folder uninstalled: it has no other record of it.
__version__ = "0.1.0"

__all__ = ["__version__", "load_epochs", "load_runs"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
