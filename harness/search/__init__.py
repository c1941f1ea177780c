"""The search for a better recipe: an Optuna trial is a run whose recipe was sampled."""

from harness.search.space import Case
from harness.search.spec import Search, load

__all__ = ["Case", "Search", "load"]
