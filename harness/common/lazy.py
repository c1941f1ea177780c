"""The one way to import a module where it is first used: TensorFlow, MLflow, Optuna and matplotlib take seconds each.

    if TYPE_CHECKING:
        from harness.reporting import run_figures
    else:
        run_figures = lazy_import("harness.reporting.run_figures")

Importing inside a function would hide from a reader, and from the test of the layers, what a module depends on.
"""

import importlib
import types
from typing import Any


class _LazyModule(types.ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def lazy_import(name: str) -> types.ModuleType:
    """The module of that full name, imported at its first use. Raises ImportError there where there is none."""
    return _LazyModule(name)
