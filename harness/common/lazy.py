"""Import a module at its first use, because TensorFlow, MLflow, Optuna and matplotlib are slow to import.

    if TYPE_CHECKING:
        from harness.reporting import run_figures
    else:
        run_figures = lazy_import("harness.reporting.run_figures")

Do not import inside functions instead: that would hide a module's dependencies from readers and tests/test_layers.py.
"""

import importlib
import types
from typing import Any


class _LazyModule(types.ModuleType):
    """Stands for a module, and imports it at the first access to an attribute."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def lazy_import(name: str) -> types.ModuleType:
    """Return the module of that full name, imported at its first use. That use raises ImportError if there is none."""
    return _LazyModule(name)
