"""A research harness that answers "why does this CNN work?" with evidence.

Importing this package imports neither TensorFlow nor MLflow: `harness --help` answers at once, and a
machine without TensorFlow can still use every part that does not train with it.
"""

#: As in pyproject.toml. A machine without network runs the project's folder uninstalled: it has no other record of it.
__version__ = "0.1.0"

from harness.runs.frames import load_epochs, load_runs

__all__ = ["__version__", "load_epochs", "load_runs"]
