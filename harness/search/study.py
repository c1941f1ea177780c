"""The study of a search: the configuration that all its trials share, and its waiting trials."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import filelock
import optuna

from harness import plan
from harness.common import paths
from harness.common.errors import BadInput
from harness.data import Dataset
from harness.execute import work_queue
from harness.experiment import BASELINE
from harness.plan import Settings
from harness.recipes import recipe_called
from harness.search.space import describe, parameters_of
from harness.search.spec import PRUNERS, SAMPLERS, Search
from harness.source_hash import source_hash


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
    precision: str
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
        return Settings(self.budget, self.recipe, "tune", self.engine, self.precision)  # type: ignore[arg-type]


def study_config_of(name: str, search: Search, dataset: Dataset, settings: Settings) -> StudyConfig:
    """Return the configuration that a study of this search has with the code and the data of this machine."""
    baseline = plan.run_spec(name, BASELINE, {}, dataset, settings, plan.TUNING_SEED, "search")
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
    check_compatible(study, study_config)
    return study


def recorded_config(study: optuna.Study) -> StudyConfig | None:
    """Return the configuration of a study, or None if it holds runs of an experiment and is no search.

    Raises BadInput if another version of this code wrote it.
    """
    known = study.user_attrs.get("study_config")
    try:
        return StudyConfig(**known) if known else None
    except TypeError as error:
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
