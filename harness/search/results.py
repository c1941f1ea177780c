"""The results of a study so far."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.execute import work_queue

#: Parameter importances need at least this many complete trials; with fewer they are mostly chance.
FEWEST_FOR_IMPORTANCES = 20


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have ended: complete, pruned, or failed on their own.

    A trial whose worker was stopped or died does not count, because it is queued again.
    """
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if "slot" in t.user_attrs and t.state.is_finished() and not work_queue.is_cut_off(t)]


def complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that were trained to the end of the last rung, best first. Diverged trials are left out."""
    whole = [t for t in trials if t.state == TrialState.COMPLETE and "diverged" not in t.user_attrs]
    return sorted(whole, key=lambda trial: (-(trial.value or 0.0), trial.number))


def baseline_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the baseline's trial, or None if it is not complete."""
    return next((trial for trial in complete(trials) if trial.user_attrs.get("is_baseline")), None)


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the trial with the best validation accuracy, which may be the baseline's; None if none is complete."""
    return next(iter(complete(trials)), None)


def describe_study(study: optuna.Study, question: str) -> dict[str, Any]:
    """Return the document of a search: `--json` prints it, and the tables are made from it."""
    ended = finished(study)
    best, baseline = best_of(ended), baseline_of(ended)
    return {
        "question": question,
        "study": study.study_name,
        **study.user_attrs["study_config"],
        "trials": [_trial(trial) for trial in ended],
        "waiting": len(study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))),
        "best": best.number if best else None,
        "best_accuracy": best.value if best else None,
        "baseline_accuracy": baseline.value if baseline else None,
        "pflop": sum(trial.user_attrs.get("pflop", 0.0) for trial in ended),
        "training_seconds": sum(trial.user_attrs.get("seconds", 0.0) for trial in ended),
        "importances": importances(study, ended),
    }


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    known = trial.user_attrs
    return {
        "trial": trial.number,
        "is_baseline": known.get("is_baseline", False),
        "ended": "diverged" if "diverged" in known else trial.state.name.lower(),
        "accuracy": trial.value if trial.state == TrialState.COMPLETE else None,
        "at_rungs": list(trial.intermediate_values.values()),
        "recipe": known.get("recipe", {}),
        "parameters": trial.params,
        "reason": known.get("diverged") or known.get("reason", ""),
        "pflop": known.get("pflop", 0.0),
        "training_seconds": known.get("seconds", 0.0),
        "run_key": known.get("run_key", ""),
        "mlflow_run_id": known.get("mlflow_run_id", ""),
    }


def importances(study: optuna.Study, ended: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return each parameter's importance (PED-ANOVA, Watanabe et al. 2023); empty if too few trials are complete."""
    whole = complete(ended)
    # PED-ANOVA compares the best trials with the others. If almost all values are equal, there are no best trials.
    if len(whole) < FEWEST_FOR_IMPORTANCES or len({trial.value for trial in whole}) < 4:
        return {}
    try:
        return dict(optuna.importance.get_param_importances(study))
    except (ValueError, RuntimeError):
        return {}
