"""The search for a better recipe: an Optuna trial is a cell whose recipe was sampled."""

from harness.search.declared import Search, load
from harness.search.space import Case

__all__ = ["Case", "Search", "load"]
