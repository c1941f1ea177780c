"""Optuna's dashboard as this project serves it, asked as a browser asks it."""

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from conftest import finished, small_config
from PIL import Image

from harness.commands import dashboard, serve
from harness.common import paths
from harness.execute import work_queue
from harness.reporting.search_report import study_note
from harness.runs.folder import RunFolder
from harness.search.study import FEWEST_FOR_IMPORTANCES
from harness.tracking import mlflow_report, told

PLACE = f"/experiments/1/runs/{'ab' * 16}"


@pytest.fixture
def ask(mlruns: Path) -> Callable[[str], tuple[str, dict[str, str], bytes]]:
    """Ask for a path; returns status, headers and body."""

    def get(path: str) -> tuple[str, dict[str, str], bytes]:
        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
        setup_testing_defaults(environ)
        said: list[Any] = []
        body = b"".join(dashboard.application()(environ, lambda status, headers, *rest: said.extend((status, headers))))
        return said[0], dict(said[1]), body

    return get


def search(trials: int) -> optuna.Study:
    study = work_queue.open_study("search fast quick")
    study.set_user_attr("study_config", {"search": "search"})
    for number in range(trials):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1) + 0.01 * trial.suggest_float("y", 0, 1) + 0.001 * number)
    return study


def test_the_queue_of_an_experiment_is_not_shown_as_a_study(ask) -> None:
    queue = work_queue.open_study("ablate_bn fast quick")
    study = search(0)
    shown = json.loads(ask("/api/studies")[2])["study_summaries"]
    assert [each["study_name"] for each in shown] == [study.study_name]
    assert ask(f"/api/studies/{queue._study_id}")[0].startswith("404")
    assert queue.study_name in work_queue.known_studies()


def test_importances_are_shown_from_enough_complete_trials_on(ask) -> None:
    study = search(FEWEST_FOR_IMPORTANCES - 1)
    place = f"/api/studies/{study._study_id}/param_importances"
    assert json.loads(ask(place)[2]) == {"param_importances": [[]]}
    search(1)
    assert len(json.loads(ask(place)[2])["param_importances"][0]) == 2
    assert ask("/api/studies/999/param_importances")[0].startswith("404")


def test_a_trial_links_to_mlflow_wherever_that_is_served(ask, mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = []
    monkeypatch.setattr(mlflow_report, "tag_trial", lambda *arguments: "ab" * 16)
    monkeypatch.setattr(mlflow_report.optuna_dashboard, "save_note", lambda trial, text: notes.append(text))
    folder = RunFolder(small_config())
    folder.path.mkdir(parents=True)
    told.remember(folder, "ab" * 16, "1", complete=True)
    mlflow_report.tell_trial(folder, search(0).ask(), "")
    assert f"(/mlflow{PLACE})" in notes[0]

    with socket.socket() as ui:
        ui.bind(("127.0.0.1", 0))
        port = ui.getsockname()[1]
        told.remember_ui_port(port)
        status, headers, text = ask(f"/mlflow{PLACE}")
        assert status.startswith("503")
        assert b"make ui" in text
        ui.listen()
        status, headers, _ = ask(f"/mlflow{PLACE}")
        assert status.startswith("302")
        assert headers["Location"] == f"http://127.0.0.1:{port}/#{PLACE}"
    assert told.run_url(folder) == headers["Location"]
    # Nothing but a run's page.
    assert not ask("/mlflow/experiments/1/runs/../../x")[0].startswith("302")


def test_a_trial_shows_the_curve_of_its_run(ask, mlruns: Path) -> None:
    folder = RunFolder(small_config())
    with folder.locked():
        folder.begin({}, "there")
        assert b"has not ended" in ask(f"/curves/{folder.config.key}.png")[2]
        history = [{"epoch": 1, "timestamp": 0, "train_accuracy": 0.2, "validation_accuracy": 0.3}]
        folder.finish(finished(), history)
    status, headers, picture = ask(f"/curves/{folder.config.key}.png")
    assert (status, headers["Content-Type"]) == ("200 OK", "image/png")
    assert Image.open(io.BytesIO(picture)).width > 500
    for unknown in ("0123456789abcdef", ""):
        assert ask(f"/curves/{unknown}.png")[0].startswith("404")
    assert not ask("/curves/../runs.png")[0].startswith("200")


@pytest.mark.parametrize("content", ["", "x\n", "5 001"])
def test_a_damaged_port_file_is_passed_over(mlruns: Path, content: str) -> None:
    (mlruns / told.PORT).write_text(content)
    assert told.ui_port() == 5000


def test_the_note_of_a_study_says_question_numbers_and_commands() -> None:
    trials = [{"ended": "complete"}, {"ended": "pruned"}]
    text = study_note(
        {
            "question": "Is there a better recipe?", "trials": trials, "waiting": 3, "pflop": 1.0, "study": "s",
            "training_seconds": 3600, "best_accuracy": 0.82, "baseline_accuracy": 0.8, "best": 1, "sampler": "tpe",
            "command": "harness search search --trials 5", "pruner": "none", "epochs": [1, 3], "precision": "float32",
        }
    )  # fmt: skip
    for part in (
        "**Is there a better recipe?**", "0.8200 (trial 1), baseline 0.8000: +2.00 points",
        "\n\n    harness search search --trials 5 --confirm\n\n", "from 20 complete trials on; there are 1",
    ):  # fmt: skip
        assert part in text


def test_the_searches_of_a_read_only_mlruns_are_shown(ask, mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def files() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in mlruns.rglob("*") if file.is_file()}

    name = search(0).study_name
    (mlruns / "optuna.lock").unlink()
    before = files()
    monkeypatch.setattr(paths, "is_read_only", lambda: True)
    monkeypatch.setattr(serve, "_check_free", lambda *where: None)
    monkeypatch.setattr(serve, "serve_here", lambda application, port: None)
    serve.serve_dashboard(8080)
    assert name in ask("/api/studies")[2].decode()
    assert files() == before
