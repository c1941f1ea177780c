"""Optuna's dashboard as this project shows it: searches only, the curve of each trial, links to the MLflow UI."""

import io
import json
import re
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import optuna
import optuna_dashboard
from optuna.study._frozen import FrozenStudy
from optuna.trial import TrialState

from harness.commands.local_only import Application
from harness.commands.runs import runs_called
from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.execute import queue_database
from harness.search.study import FEWEST_FOR_IMPORTANCES
from harness.tracking.told import ui_port

if TYPE_CHECKING:
    from harness.reporting import run_figures
else:
    # matplotlib is slow to import.
    run_figures = lazy_import("harness.reporting.run_figures")

#: What the note of a trial shows and links to (harness/tracking/mlflow_report.py).
CURVE = re.compile(r"/curves/([0-9a-f]+)\.png")
RUN = re.compile(r"/mlflow(/experiments/\d+/runs/\w+)")
IMPORTANCES = re.compile(r"/api/studies/(\d+)/param_importances")


class Searches(optuna.storages.RDBStorage):
    """The storage without the work queues of experiments, which are studies too but search nothing."""

    def get_all_studies(self) -> list[FrozenStudy]:
        return [study for study in super().get_all_studies() if "study_config" in study.user_attrs]


def application() -> Application:
    """Return the dashboard over the searches in the storage."""
    storage = Searches(queue_database.storage_url(), engine_kwargs=queue_database.engine_options())
    dashboard = optuna_dashboard.wsgi(storage)

    def routed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if run := RUN.fullmatch(path):
            return _to_mlflow(run[1], start_response)
        if curve := CURVE.fullmatch(path):
            return _curve(curve[1], start_response)
        if (study := IMPORTANCES.fullmatch(path)) and _too_few(storage, int(study[1])):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"param_importances": [[]]}).encode()]
        return dashboard(environ, start_response)

    return routed


def _curve(run_key: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the learning curve of a run, drawn from what is in its folder."""
    try:
        (folder,) = runs_called([run_key])
        if not (history := folder.history()):
            raise BadInput(f"The run {run_key} has not ended, or diverged in its first epoch: there is no curve yet.")
    except BadInput as error:
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{error}\n".encode()]
    title = f"{folder.config.data} · {folder.config.train_images:,} training images"
    content = io.BytesIO()
    run_figures.curves(history, "accuracy", title, fair=False).savefig(content, format="png", dpi=100)
    start_response("200 OK", [("Content-Type", "image/png")])
    return [content.getvalue()]


def _to_mlflow(place: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    address = ("127.0.0.1", ui_port())
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [
            f"MLflow does not answer on port {address[1]}. Start it (make ui), and load this page again.\n".encode()
        ]
    start_response("302 Found", [("Location", f"http://{address[0]}:{address[1]}/#{place}")])
    return []


def _too_few(storage: optuna.storages.RDBStorage, study: int) -> bool:
    """Whether a study has fewer complete trials than its importances need: with few they are mostly chance."""
    try:
        return len(storage.get_all_trials(study, states=(TrialState.COMPLETE,))) < FEWEST_FOR_IMPORTANCES
    except KeyError:
        return False
