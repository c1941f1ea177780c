"""The champion: the model that is used where none is named. The test images have no say in which it is.

A run of the `final` split trains on all images and is judged by the test images alone. It is chosen by what runs of the
`tune` split with the same network and recipe reach on the validation images.
"""

import dataclasses
import logging
import statistics
from collections.abc import Iterable
from typing import Any

from harness import published
from harness.common.errors import first_line
from harness.common.lazy import lazy_import
from harness.config import RunConfig
from harness.experiment import BASELINE
from harness.runs.folder import RunFolder, all_runs
from harness.runs.records import Result
from harness.tracking.mlflow_store import explained, is_ours, open_mlflow, owner
from harness.tracking.model import find_model
from harness.tracking.told import is_tracked, run_id

exceptions = lazy_import("mlflow.exceptions")
log = logging.getLogger("harness")

#: The name of the registered model, and the alias of its version in use.
NAME = "cifar10-cnn"
ALIAS = "champion"

DESCRIPTION = (
    "The 18-layer network on CIFAR-10. `champion` is what `harness predict` uses: the recipe with the best validation "
    "accuracy, lowest seed. The test images have no say in it."
)

#: What MLflow answers if it has no such model, or none with that alias.
NO_CHAMPION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

#: What `harness predict` does without a champion.
INSTEAD = "`harness predict` takes the best run in mlruns/, by the same rule."

#: A run of the tune split speaks for one of the final split if it trains on this share of its images or more.
LIKE = 0.85

Run = tuple[RunFolder, Result]


def ended_runs() -> list[Run]:
    """Return the runs that have finished and are in MLflow."""
    return [(run, r) for run in all_runs() if (r := run.result()) and r.status == "finished" and is_tracked(run)]


def ranked(runs: Iterable[Run]) -> list[Run]:
    """Return runs, the best first, by what is known without the test images.

    In this order: the most training images; the best mean validation accuracy of the settings, those without any last;
    of these the baseline, and the longest training; the lowest seed.
    """
    runs = list(runs)
    validated: dict[str, list[tuple[int, float]]] = {}
    for folder, result in runs:
        if folder.config.split == "tune":
            found = folder.config.train_images, result.metrics["accuracy"]
            validated.setdefault(_settings(folder.config), []).append(found)

    def key(run: Run) -> tuple[float, float, bool, int, int, str]:
        config = run[0].config
        known = [
            accuracy
            for images, accuracy in validated.get(_settings(config), [])
            if LIKE * config.train_images <= images <= config.train_images
        ]
        plain = run[0].tags.get("variant") == BASELINE
        validation = statistics.mean(known) if known else -1.0
        return (-config.train_images, -validation, not plain, -config.recipe.epochs, config.seed, config.key)

    return sorted(runs, key=key)


def _settings(config: RunConfig) -> str:
    """Return what a run of either split and any seed has in common with others: network, recipe and data."""
    same = dataclasses.replace(config, seed=0, split="final", train_images=0, eval_images=0, source="", engine="")
    return same.to_json()


def champion() -> str:
    """Return the MLflow run id of the registered champion, "" if there is none or MLflow does not say."""
    try:
        return open_mlflow().MlflowClient().get_model_version_by_alias(NAME, ALIAS).run_id or ""
    # What is no server of MLflow's raises errors of its own kinds.
    except Exception as error:
        if getattr(error, "error_code", "") not in NO_CHAMPION:
            log.warning("MLflow does not say which model is the champion (%s): %s", first_line(error), INSTEAD)
        return ""


def crown() -> None:
    """Register the best model of CIFAR-10 as a version, with the alias `champion`, unless it has that already.

    On a server a champion that others have made stays. Where there is no model registry, that is said.
    """
    candidates = ranked(run for run in ended_runs() if published.comparable(run[0].config.data))
    with explained():
        client = open_mlflow().MlflowClient()
        # The models of small runs are not kept.
        kept = ((folder, model) for folder, _ in candidates if (model := find_model(client, run_id(folder))))
        chosen = next(kept, None)
        if chosen:
            try:
                _register(client, *chosen)
            except exceptions.MlflowException as error:
                log.warning("MLflow did not register the best model as champion (%s): %s", first_line(error), INSTEAD)


def _register(client: Any, folder: RunFolder, model_id: str) -> None:
    versions = client.search_model_versions(f"name = '{NAME}'")
    current = next((each for each in versions if each.version == _aliased(client)), None)
    if current and (current.run_id == run_id(folder) or not is_ours(current.tags)):
        return
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME, description=DESCRIPTION)
    version = next((each for each in versions if each.run_id == run_id(folder)), None)
    if version is None:
        tags = owner() | {"run_key": folder.config.key}
        version = client.create_model_version(NAME, f"models:/{model_id}", run_id(folder), tags, model_id=model_id)
    client.set_registered_model_alias(NAME, ALIAS, version.version)


def _aliased(client: Any) -> str:
    found = client.search_registered_models(f"name = '{NAME}'")
    return str(found[0].aliases.get(ALIAS, "")) if found else ""
