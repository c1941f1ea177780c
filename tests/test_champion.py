"""Which model is used where none is named: chosen without the test images, registered, and found again."""

import dataclasses
from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import SMALL_RECIPE, finished, small_config

from harness.commands.predict import choose_runs
from harness.runs.folder import RunFolder
from harness.tracking import champion, told

SLOWER = dataclasses.replace(SMALL_RECIPE, learning_rate=0.01)


def ended(accuracy: float, variant: str = "baseline", **changes: Any) -> champion.Run:
    folder = RunFolder(dataclasses.replace(small_config(), data="cifar10-test", **changes))
    return folder, finished(accuracy)


def test_the_test_images_have_no_say() -> None:
    final = [ended(0.5), ended(0.9, seed=1), ended(0.7, recipe=SLOWER), ended(0.99, train_images=50)]
    order = [folder.config for folder, _ in champion.ranked(reversed(final))]
    assert order[-1].train_images == 50
    assert [config.seed for config in order if config.recipe == SMALL_RECIPE][:2] == [0, 1]
    assert order == [folder.config for folder, _ in champion.ranked([(f, ended(0.1)[1]) for f, _ in final])]


def test_the_best_validation_accuracy_of_the_same_settings_decides() -> None:
    final = [ended(0.9), ended(0.5, recipe=SLOWER)]
    tuned = [
        ended(0.60, split="tune", train_images=60, eval_images=4, seed=1000),
        ended(0.70, split="tune", train_images=60, eval_images=4, recipe=SLOWER, seed=1000),
        # So few images say nothing of what all do.
        ended(0.99, split="tune", train_images=10, eval_images=4, seed=1000),
    ]
    assert champion.ranked([*final, *tuned])[0] is final[1]
    assert champion.ranked([final[0], final[1], tuned[0]])[0] is final[0]


@pytest.fixture
def kept(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> list[champion.Run]:
    """Two runs that MLflow has, each with a model."""
    mlflow.set_tracking_uri(f"sqlite:///{mlruns / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("cifar10-test", str(mlruns / "artifacts"))
    runs = [ended(0.5), ended(0.9, seed=1)]
    models = {}
    for folder, _ in runs:
        run = client.create_run(experiment).info.run_id
        models[run] = client.create_logged_model(experiment, "model", run).model_id
        client.finalize_logged_model(models[run], "READY")
        told.remember(folder, run, experiment, complete=True)
    monkeypatch.setattr(champion, "ended_runs", lambda: runs)
    monkeypatch.setattr("harness.commands.predict.ended_runs", lambda: runs)
    monkeypatch.setattr(champion, "find_model", lambda client, run: models[run])
    return runs


def test_the_champion_is_registered_once_and_predict_uses_it(kept: list[champion.Run]) -> None:
    champion.crown()
    champion.crown()
    client = mlflow.MlflowClient()
    (version,) = client.search_model_versions(f"name = '{champion.NAME}'")
    assert version.run_id == told.run_id(kept[0][0])
    assert version.aliases == [champion.ALIAS] or client.get_model_version_by_alias(champion.NAME, champion.ALIAS)
    assert choose_runs(None)[0] is kept[0]

    other = client.create_model_version(champion.NAME, version.source, told.run_id(kept[1][0]))
    client.set_registered_model_alias(champion.NAME, champion.ALIAS, other.version)
    assert choose_runs(None)[0] is kept[1]
    champion.crown()
    assert choose_runs(None)[0] is kept[0]
    assert len(client.search_model_versions(f"name = '{champion.NAME}'")) == 2


def test_without_a_registry_predict_goes_by_the_same_order(
    kept: list[champion.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise mlflow.exceptions.MlflowException("no registry here")

    for name in ("search_model_versions", "search_registered_models", "get_model_version_by_alias"):
        monkeypatch.setattr(mlflow.MlflowClient, name, fail)
    champion.crown()
    assert choose_runs(None)[0] is kept[0]
