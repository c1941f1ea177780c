"""Anytime performance of search methods: the best accuracy so far against the PFLOP spent, compared at equal PFLOP."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.stats import standard_deviation
from harness.common.documents import read_json
from harness.common.errors import BadInput

#: The settings that searches must share to be comparable.
COMMON = ("data", "data_fingerprint", "budget", "recipe", "precision", "engine", "source", "baseline", "space")

#: What a search has for itself.
OWN = ("study", "sampler", "pruner", "trials")

#: What JSON has for a number.
NUMBER = float | int


def anytime(files: Sequence[Path]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare searches, each given as a `search.json`; return a document for JSON, and the curves.

    Searches with the same sampler and pruner are repetitions of one method. Each pair of methods is compared at the
    largest PFLOP that all searches have spent: the difference of the means, with Welch's 95 % interval and p value,
    both None if the repetitions do not vary. The curves have the columns `pflop`, `best` and `study`. Raises BadInput
    for files that are no searches, or searches that cannot be compared.
    """
    searches = [_read(file) for file in files]
    for file, search in zip(files, searches, strict=True):
        for name in COMMON:
            if search[name] != searches[0][name]:
                raise BadInput(
                    f"{files[0]} and {file} differ in {name}: their trials would not mean the same. Compare searches "
                    f"that have it in common."
                )
    curves = {search["study"]: _best_so_far(search) for search in searches}
    if len(curves) < len(searches):
        raise BadInput("One study was given twice; each repetition counts once.")
    spent = min(curve.index[-1] for curve in curves.values())
    for study, curve in curves.items():
        if curve.index[0] > spent:
            raise BadInput(
                f"The study {study!r} has its first result at {curve.index[0]:.3g} PFLOP, and another one spent "
                f"{spent:.3g} in all: there is no cost at which both can be compared. Give the latter more --trials."
            )
    methods: dict[str, list[str]] = {}
    for search in searches:
        methods.setdefault(f"{search['sampler']}, pruner {search['pruner']}", []).append(search["study"])
    best = {name: [float(curves[study][:spent].iloc[-1]) for study in studies] for name, studies in methods.items()}
    document = {
        **{name: searches[0][name] for name in COMMON if name != "space"},
        "baseline_accuracy": searches[0]["baseline_accuracy"],
        "pflop": spent,
        "methods": [
            {"method": name, "studies": methods[name], "best": values, "mean": sum(values) / len(values)}
            for name, values in best.items()
        ],
        "differences": [
            _difference(one, other, best)
            for i, one in enumerate(best)
            for other in list(best)[i + 1 :]
            if min(len(best[one]), len(best[other])) > 1
        ],
    }
    table = pd.concat([curve.rename_axis("pflop").reset_index().assign(study=study) for study, curve in curves.items()])
    return document, table


def _read(file: Path) -> dict[str, Any]:
    try:
        search: dict[str, Any] = read_json(file, dict[str, Any])
        missing = [name for name in (*COMMON, "baseline_accuracy", *OWN) if name not in search]
        trials = [] if missing else search["trials"]
        # The others may be of any kind; these are computed with.
        for name, kind in {"study": str, "sampler": str, "pruner": str, "baseline_accuracy": NUMBER | None}.items():
            if not missing and not _is(kind, search[name]):
                raise ValueError(f"it has {name} {search[name]!r}")
        for name, kind in {"trial": int, "accuracy": NUMBER | None, "pflop": NUMBER}.items():
            if wrong := next((trial for trial in trials if not _is(kind, trial[name])), None):
                raise ValueError(f"a trial has {name} {wrong[name]!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{file} is no search ({error}); `harness search --to DIR` writes DIR/*/search.json.") from error
    if missing or not any(trial["accuracy"] for trial in trials):
        raise BadInput(f"{file} is no search with a finished trial (it lacks {', '.join(missing) or 'one'}).")
    return search


def _is(kind: Any, value: object) -> bool:
    """Whether a value is of that kind and, if a number, finite: JSON as Python writes it may have NaN."""
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))


def _best_so_far(search: dict[str, Any]) -> "pd.Series[float]":
    """Return the best validation accuracy so far, indexed by PFLOP spent. A pruned trial only adds to the cost."""
    trials = pd.DataFrame(search["trials"]).sort_values("trial")
    best = pd.to_numeric(trials["accuracy"]).cummax().ffill()
    return pd.Series(best.to_numpy(), index=trials["pflop"].cumsum().to_numpy(float), name="best").dropna()


def _difference(one: str, other: str, best: dict[str, list[float]]) -> dict[str, Any]:
    with warnings.catch_warnings():
        # scipy warns if all values are equal. That is expected when no repetition has beaten the baseline.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind(best[one], best[other], equal_var=False)
    low, high = (float(bound) for bound in test.confidence_interval(0.95))
    # The t test is undefined if there is no variance.
    known = any(standard_deviation(np.array(best[name])) for name in (one, other))
    return {
        "of": one,
        "against": other,
        "mean": sum(best[one]) / len(best[one]) - sum(best[other]) / len(best[other]),
        "interval": [low, high] if known else None,
        "p": float(test.pvalue) if known else None,
    }
