"""The model of an MLflow run: whether all of it is there, looked at and not remembered."""

from typing import Any

from harness.common.errors import HarnessError
from harness.common.lazy import lazy_import
from harness.runs.folder import RunFolder
from harness.tracking.mlflow_store import SILENT, explained, open_mlflow, tracking_uri
from harness.tracking.told import run_id

exceptions = lazy_import("mlflow.exceptions")

#: The files without which `mlflow.keras.load_model` fails: folder -> names.
FILES = {"": {"MLmodel"}, "data": {"model.keras", "keras_module.txt"}}


def find_model(client: Any, run_id: str) -> str:
    """Return the id of a model of an MLflow run, or "" if it has none, or none whose files are all there."""
    for model in begun_models(client, run_id):
        ready = str(model.status) == "READY"
        if ready and all(names <= _files(client, model.model_id, folder) for folder, names in FILES.items()):
            return model.model_id
    return ""


def begun_models(client: Any, run_id: str) -> list[Any]:
    """Return the models of an MLflow run that nobody has deleted.

    MLflow says that a run has a model before it has the model's files, so a killed process leaves one without.
    """
    models = []
    for output in client.get_run(run_id).outputs.model_outputs:
        try:
            models.append(client.get_logged_model(output.model_id))
        except exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return models


def _files(client: Any, model_id: str, folder: str) -> set[str]:
    found = client.list_logged_model_artifacts(model_id, folder or None)
    return {file.path.rpartition("/")[2] for file in found if file.file_size}


def has_model(folder: RunFolder, *, if_silent: bool = True) -> bool:
    """Whether MLflow has the model of a run. if_silent: what to answer if MLflow does not."""
    if tracking_uri() not in SILENT:
        try:
            with explained():
                return bool(find_model(open_mlflow().MlflowClient(), run_id(folder)))
        except HarnessError:
            SILENT.add(tracking_uri())
    return if_silent
