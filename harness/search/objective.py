"""The objective of a search: sample a recipe, train it at each rung, and report the accuracy to Optuna."""

from collections.abc import Callable

import optuna

from harness import plan
from harness.common.errors import BadInput
from harness.data import Dataset
from harness.experiment import BASELINE
from harness.recipes import recipe_called
from harness.run_options import TUNING_SEED
from harness.runs.folder import Result, RunFolder
from harness.runs.spec import RunSpec
from harness.search.space import sample
from harness.search.spec import Search, load, step_of
from harness.search.study import StudyConfig, check_compatible, study_config_of

#: The validation accuracy of a diverged trial: lower than that of any finished trial, chance (0.1) included, so that
#: the sampler avoids this region.
DIVERGED = 0.0


#: Trains a run and returns its result.
Train = Callable[[RunSpec], Result]
#: Called after each run of a trial with the run folder, the trial, and why the trial was pruned after this run (or "").
Tell = Callable[[RunFolder, optuna.Trial, str], None]


class Unfit(Exception):
    """The sampled recipe cannot be trained at all. The fault is the trial's, not the worker's."""


def join_search(
    study: optuna.Study, study_config: StudyConfig, dataset: Dataset, train: Train, tell: Tell
) -> Callable[[optuna.Trial], float]:
    """Return the objective of a study for a worker: a function of a trial that returns its accuracy.

    train: trains a run. tell: called after each run. Raises BadInput if the study was begun with other settings.
    """
    search = load(study_config.search, study_config.sampler, study_config.pruner)
    check_compatible(study, study_config_of(study_config.search, search, dataset, study_config.settings))
    return lambda trial: objective(trial, search, study_config, dataset, train, tell)


def objective(
    trial: optuna.Trial, search: Search, study_config: StudyConfig, dataset: Dataset, train: Train, tell: Tell
) -> float:
    """Sample a recipe, train it with the epochs of each rung, and return its validation accuracy at the last rung.

    train: trains a run. tell: called after each run. Raises TrialPruned if the pruner stops the trial at a rung, and
    Unfit if the recipe cannot be trained.
    """
    (_, base), (_, shrunk) = recipe_called(study_config.recipe), plan.shrunk_recipe(dataset, study_config.settings)
    sampled = sample(search.space, trial)
    trial.set_user_attr("recipe", sampled)
    spent = {"pflop": 0.0, "seconds": 0.0}
    accuracy = DIVERGED
    for rung, epochs in enumerate(study_config.epochs):
        variant = BASELINE if trial.user_attrs.get("is_baseline") else f"trial {trial.number}"
        try:
            changes = search.changes_at(base, shrunk, sampled) | {"epochs": epochs}
            spec = plan.run_spec(
                study_config.search, variant, changes, dataset, study_config.settings, TUNING_SEED, "search"
            )
        except BadInput as error:
            raise Unfit(str(error)) from error
        result = train(spec)
        folder = RunFolder(spec.config)
        history = folder.history()
        spent["pflop"] += history[-1]["pflop"] if history else 0.0
        spent["seconds"] += sum(row["epoch_seconds"] for row in history)
        accuracy = result.metrics.get("accuracy", DIVERGED)
        for name, value in spent.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("run_key", spec.config.key)
        trial.set_user_attr("epochs", epochs)
        trial.report(accuracy, step_of(rung))
        last = epochs == study_config.epochs[-1] or result.status == "diverged"
        # The baseline is never pruned, because the other trials are compared with it.
        pruned = not last and not trial.user_attrs.get("is_baseline") and trial.should_prune()
        after = f"pruned after {epochs} of {study_config.epochs[-1]} epochs"
        why = f"{after}: {accuracy:.4f} is not among the best" if pruned else ""
        if result.status == "diverged":
            trial.set_user_attr("diverged", result.reason)
        tell(folder, trial, why)
        if pruned:
            trial.set_user_attr("pruned", why)
            raise optuna.TrialPruned(why)
        if last:
            break
    return accuracy
