"""The study of a search: what its trials have in common, which of them wait, and what they have found."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState

from harness import plan
from harness.common import paths
from harness.common.documents import parse
from harness.common.errors import BadInput
from harness.config import Precision
from harness.data import Dataset
from harness.execute import work_queue
from harness.experiment import BASELINE
from harness.plan import Settings
from harness.recipes import recipe_called
from harness.run_options import TUNING_SEED
from harness.search.space import describe, parameters_of
from harness.search.spec import PRUNERS, SAMPLERS, Search
from harness.source_hash import source_hash

#: Parameter importances need at least this many complete trials; with fewer they are mostly chance.
FEWEST_FOR_IMPORTANCES = 20

#: What the value of a trial is, as Optuna's pages and figures call it.
METRIC = "validation accuracy"


@dataclass(frozen=True)
class StudyConfig:
    """The configuration that all trials of a study share. It is stored in the study, to refuse a worker that differs.

    baseline: the run key of the baseline, which identifies the recipe, the images and the code that all trials start
    from. epochs: the epochs of each rung.
    """

    search: str
    recipe: str
    budget: str
    engine: str
    precision: Precision
    data: str
    data_fingerprint: str
    source: str
    sampler: str
    pruner: str
    baseline: str
    epochs: list[int]
    space: dict[str, str]

    @property
    def settings(self) -> Settings:
        """The settings of every run of a trial."""
        return Settings(self.budget, self.recipe, "tune", self.engine, self.precision)


def study_config_of(name: str, search: Search, dataset: Dataset, settings: Settings) -> StudyConfig:
    """Return the configuration that a study of this search has with the code and the data of this machine."""
    baseline = plan.run_spec(name, BASELINE, {}, dataset, settings, TUNING_SEED, "search")
    return StudyConfig(
        search=name,
        recipe=settings.recipe,
        budget=settings.budget,
        engine=settings.engine,
        precision=settings.precision,
        data=dataset.name,
        data_fingerprint=dataset.fingerprint,
        source=source_hash(settings.engine),
        sampler=search.sampler,
        pruner=search.pruner,
        baseline=baseline.config.key,
        epochs=search.rungs_of(baseline.config.recipe.epochs),
        space=describe(search.space),
    )


def study_name(study_config: StudyConfig, suffix: str = "") -> str:
    """Return the name of the study in the database. The queue and the Optuna dashboard use it."""
    engine = work_queue.suffix(study_config.engine)
    return " ".join(
        filter(
            None, [study_config.search, study_config.recipe, study_config.budget, study_config.data, suffix, *engine]
        )
    )


def open_search(name: str, study_config: StudyConfig) -> optuna.Study:
    """Return the study of that name; create it if it does not exist. Raises BadInput if its configuration differs."""
    study = work_queue.open_study(name)
    with filelock.FileLock(paths.mlruns() / "optuna.lock"):
        if "study_config" not in study.user_attrs:
            study.set_user_attr("study_config", dataclasses.asdict(study_config))
        if not study.metric_names:
            study.set_metric_names([METRIC])
    check_compatible(study, study_config)
    return study


def recorded_config(study: optuna.Study) -> StudyConfig | None:
    """Return the configuration of a study, or None if it holds runs of an experiment and is no search.

    Raises BadInput if another version of this code wrote it.
    """
    known = study.user_attrs.get("study_config")
    try:
        return parse(json.dumps(known), StudyConfig) if known else None
    except ValueError as error:
        raise BadInput(
            f"The study {study.study_name!r} was begun by another version of this harness ({error}): begin another one "
            f"with --study NAME."
        ) from error


def check_compatible(study: optuna.Study, study_config: StudyConfig) -> None:
    """Set the study's sampler and pruner. Raises BadInput that names the differences if it has other settings."""
    theirs, ours = dataclasses.asdict(recorded_config(study) or study_config), dataclasses.asdict(study_config)
    flat = [{**each.pop("space"), **each} for each in (theirs, ours)]
    differences = [
        f"{name} was {_said(flat[0], name)} and is {_said(flat[1], name)} here"
        for name in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(name) != flat[1].get(name)
    ]
    if differences:
        raise BadInput(
            f"The study {study.study_name!r} was begun with other settings: {'; '.join(differences)}. Its trials are "
            f"kept, but would not compare with new ones: begin another study with --study NAME, or go back to what it "
            f"was."
        )
    study.sampler, study.pruner = SAMPLERS[study_config.sampler](), PRUNERS[study_config.pruner]()


def _said(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "not there")
    return value[:12] if name in ("data_fingerprint", "source") else str(value)


def plan_trials(study: optuna.Study, search: Search, study_config: StudyConfig, total: int) -> None:
    """Queue as many trials as the study lacks to have `total`. The first trial of a study is the baseline.

    A trial whose worker was stopped or died is queued again with the same recipe.
    """
    # The lock keeps two commands on this machine from both adding the missing trials.
    with filelock.FileLock(paths.mlruns() / "optuna.lock"):
        latest = {t.user_attrs["slot"]: t for t in study.get_trials(deepcopy=False) if "slot" in t.user_attrs}
        for trial in latest.values():
            if work_queue.is_cut_off(trial):
                work_queue.again(study, trial)
        _, recipe = recipe_called(study_config.recipe)
        for slot in range(len(latest), total):
            baseline = parameters_of(search.space, recipe) if slot == 0 else {}
            study.enqueue_trial(baseline, user_attrs={"slot": slot, "is_baseline": slot == 0})


def planned(study: optuna.Study) -> int:
    """Return how many trials a study has in all: ended, running, waiting, or cut off and not queued again yet."""
    return len({trial.user_attrs.get("slot") for trial in study.get_trials(deepcopy=False)} - {None})


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
