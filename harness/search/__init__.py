"""The search for a better recipe: each Optuna trial samples a recipe and trains it."""

from harness.search.space import Case
from harness.search.spec import Search, load

__all__ = ["Case", "Search", "load"]
