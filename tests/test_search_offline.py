"""A search that was made without MLflow comes home: trial by trial, once, and never over another one."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import optuna
import pytest
from conftest import Command, document, mlflow_runs
from optuna.distributions import FloatDistribution as Float
from optuna.trial import TrialState

from harness import plan
from harness.commands.sync import _searches_in
from harness.common.errors import BadInput
from harness.data import Dataset
from harness.execute import queue_database, worker_loop
from harness.execute import work_queue as queue
from harness.runs.records import Result
from harness.search import Search, import_search
from harness.search.import_search import take_in_searches
from harness.search.study import (
    StudyConfig,
    baseline_of,
    best_of,
    complete,
    finished,
    open_search,
    plan_trials,
    study_config_of,
)

SEARCH = Search(space={"learning_rate": Float(0.01, 0.1)}, sampler="random")


IMAGES, LABELS = np.zeros((200, 32, 32, 3), np.uint8), np.arange(200, dtype=np.int32) % 10
DATASET = Dataset("none", "f" * 64, "nowhere", "made", tuple("abcdefghij"), IMAGES, LABELS, IMAGES, LABELS)


@pytest.fixture(scope="module")
def terms() -> StudyConfig:
    return study_config_of("search", SEARCH, DATASET, plan.Settings(budget="smoke", split="tune"))


There = Callable[..., Path]


@pytest.fixture
def there(mlruns: Path, tmp_path: Path, terms: StudyConfig) -> There:
    """Search on a machine without MLflow, up to so many trials; returns its database."""

    def search(total: int, objective: Callable[[optuna.Trial], float] | None = None, folder: str = "bundles") -> Path:
        with pytest.MonkeyPatch.context() as there:
            there.setenv("HARNESS_MLRUNS", str(tmp_path / folder))
            study = open_search("a search", terms)
            plan_trials(study, SEARCH, terms, total)

            def usual(trial: optuna.Trial) -> float:
                rate = trial.suggest_float("learning_rate", 0.01, 0.1)
                trial.set_user_attr("run_key", f"{trial.number:016x}")
                if trial.number % 3 == 2:
                    trial.report(rate / 2, 1)
                    raise optuna.TrialPruned
                return rate

            worker_loop.work([study], lambda spec: 0.0, objective or usual)
        return tmp_path / folder / "optuna.db"

    return search


def statuses(database: Path) -> list[str]:
    return [row["status"] for row in rows(database)]


def rows(database: Path) -> list[dict[str, str]]:
    return take_in_searches(database, lambda name: DATASET)


def test_a_search_comes_home_as_it_was_and_once(there: There, terms: StudyConfig) -> None:
    database = there(5)
    assert statuses(database) == ["imported"]
    theirs = optuna.load_study(study_name="a search", storage=f"sqlite:///{database}")
    ours = open_search("a search", terms)
    for one, other in zip(ours.trials, theirs.trials, strict=True):
        assert (one.state, one.params, one.value) == (other.state, other.params, other.value)
        assert one.intermediate_values == other.intermediate_values
        assert one.user_attrs == other.user_attrs
        assert one.datetime_complete == other.datetime_complete
    assert [trial.state for trial in ours.trials].count(TrialState.PRUNED) == 1
    best, baseline = best_of(finished(ours)), baseline_of(finished(ours))
    assert best
    assert baseline
    assert best.value == max(trial.value for trial in complete(finished(ours)))
    assert baseline.params == {"learning_rate": 0.04}
    # Nothing is left to do here, and doing it again changes nothing.
    plan_trials(ours, SEARCH, terms, 5)
    assert queue.is_empty(ours)
    assert statuses(database) == ["known"]
    assert len(ours.trials) == 5


def test_what_was_searched_since_is_added(there: There, terms: StudyConfig) -> None:
    assert statuses(there(3)) == ["imported"]
    assert statuses(there(7)) == ["imported"]
    ours = open_search("a search", terms)
    assert [trial.user_attrs["slot"] for trial in ours.trials] == list(range(7))


def test_a_trial_that_was_cut_off_there_waits_again_here(there: There, terms: StudyConfig, tmp_path: Path) -> None:
    def killed(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 0.01, 0.1)
        if trial.number == 1:
            raise KeyboardInterrupt
        return rate

    with pytest.raises(KeyboardInterrupt):
        there(4, killed)
    database = tmp_path / "bundles" / "optuna.db"
    assert statuses(database) == ["imported"]
    ours = open_search("a search", terms)
    assert [trial.state for trial in ours.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    plan_trials(ours, SEARCH, terms, 4)
    waiting = ours.get_trials(states=(TrialState.WAITING,))
    assert sorted(trial.user_attrs["slot"] for trial in waiting) == [1, 2, 3]
    # The search goes on here now: what the other machine did meanwhile is another search.
    (row,) = rows(there(4))
    assert row["status"] == "refused"
    assert "delete it in `harness dashboard` and sync again" in row["reason"]
    optuna.delete_study(study_name="a search", storage=queue_database.storage_url())
    assert statuses(database) == ["imported"]


def test_a_trial_that_still_runs_there_comes_when_it_is_over(there: There, terms: StudyConfig) -> None:
    database = there(2)
    theirs = optuna.load_study(study_name="a search", storage=f"sqlite:///{database}")
    theirs.enqueue_trial({}, user_attrs={"slot": 2, "is_baseline": False})
    running = theirs.ask()
    assert statuses(database) == ["imported"]
    assert len(open_search("a search", terms).trials) == 2
    theirs.tell(running, 0.5)
    assert statuses(database) == ["imported"]
    assert [trial.value for trial in open_search("a search", terms).trials][2] == 0.5


def test_an_import_names_its_study_once_and_optuna_says_nothing(
    there: There, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = there(2)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    take_in = import_search.take_in_searches
    try:
        monkeypatch.setattr(import_search, "take_in_searches", lambda file: take_in(file, lambda name: DATASET))
        _searches_in(database)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records
    assert capsys.readouterr().err == "study a search: imported\n"


def test_another_search_of_that_name_is_refused(there: There, terms: StudyConfig) -> None:
    assert statuses(there(2)) == ["imported"]
    (row,) = rows(there(2, folder="others"))
    assert row["status"] == "refused"
    assert len(open_search("a search", terms).trials) == 2


def test_a_database_that_is_none_is_refused_by_name(mlruns: Path, tmp_path: Path, there: There) -> None:
    database = there(2)
    cut = tmp_path / "cut.db"
    cut.write_bytes(database.read_bytes()[:5000])
    (row,) = rows(cut)
    assert row["status"] == "refused"
    assert "cut.db" in row["search"]
    shutil.copy(database, cut)
    assert statuses(cut) == ["imported"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'slot' AND trial_id = 1",
        "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'run_key' AND trial_id = 1",
        "UPDATE trial_user_attributes SET value_json = '\"../../x\"' WHERE key = 'run_key' AND trial_id = 1",
        "UPDATE trial_user_attributes SET value_json = '{bad' WHERE key = 'slot' AND trial_id = 1",
        "UPDATE trial_user_attributes SET key = 'colour' WHERE key = 'is_baseline' AND trial_id = 1",
        "UPDATE trials SET state = 'NONSENSE' WHERE trial_id = 1",
        "UPDATE trials SET datetime_complete = 'yesterday' WHERE trial_id = 1",
        "UPDATE trial_values SET value = NULL WHERE trial_id = 1",
        "UPDATE trial_params SET distribution_json = '{}' WHERE trial_id = 1",
        "DELETE FROM trial_values WHERE trial_id = 1",
        "DELETE FROM trials WHERE trial_id = 1",
        "UPDATE study_user_attributes SET value_json = '{bad' WHERE study_id = 1",
    ],
)
def test_a_damaged_search_is_refused_by_name_and_the_others_go_in(
    there: There, terms: StudyConfig, damage: str
) -> None:
    database = there(3)
    url = f"sqlite:///{database}"
    optuna.copy_study(from_study_name="a search", from_storage=url, to_storage=url, to_study_name="b search")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute(damage).rowcount
        connection.commit()
    refused, imported = rows(database)
    assert (refused["search"], refused["status"]) == ("a search", "refused")
    assert "'a search' is damaged" in refused["reason"]
    assert (imported["search"], imported["status"]) == ("b search", "imported")
    assert queue.known_studies() == ["b search"]


@pytest.mark.parametrize("damage", ["a table", "a page"])
def test_a_damaged_database_of_searches_is_refused_by_name(there: There, damage: str) -> None:
    database = there(3)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        if damage == "a table":
            connection.execute("DROP TABLE trials")
            connection.commit()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        select = "SELECT rootpage FROM sqlite_master WHERE name = 'trial_values'"
        (page,) = connection.execute(select).fetchone()
    if damage == "a page":
        content = bytearray(database.read_bytes())
        content[(page - 1) * size] ^= 0xFF
        database.write_bytes(content)
    (row,) = rows(database)
    assert (row["search"], row["status"]) == (str(database), "refused")
    assert queue.known_studies() == []


@pytest.mark.parametrize("where", ["here", "in its bundle"])
@pytest.mark.parametrize("trial", [1, 2], ids=["complete", "pruned"])
def test_a_trial_whose_value_is_not_the_accuracy_of_its_run_is_refused(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, trial: int
) -> None:
    """Wherever that is known, which it is where the bundle has been imported."""
    database = there(3)
    accuracy = optuna.load_study(study_name="a search", storage=f"sqlite:///{database}").trials[trial].value
    measured = {f"{trial:016x}": accuracy}
    ended = lambda key: Mock(result=Result("finished", "", {"accuracy": measured[key]}, "", {}, []))  # noqa: E731
    if where == "here":
        run = Mock(result=lambda: ended(f"{trial:016x}").result)
        run.config.key = f"{trial:016x}"
        monkeypatch.setattr(import_search, "all_runs", lambda: [run])
        monkeypatch.setattr(import_search, "tag_trial", lambda *run: "id")
    else:
        monkeypatch.setattr(import_search, "read_bundle", lambda path: read(path, database.parent / "runs", ended))
    measured[f"{trial:016x}"] = 0.99
    (row,) = rows(database)
    assert row["status"] == "refused"
    assert f"trial {trial} has the value {accuracy}, its run {trial:016x} has 0.99" in row["reason"]
    assert queue.known_studies() == []
    measured[f"{trial:016x}"] = accuracy
    assert statuses(database) == ["imported"]


def read(path: Path, runs: Path, ended: Callable[[str], Mock]) -> Mock:
    """A bundle as `read_bundle` returns it, if there is one of that run."""
    assert path.parent == runs
    try:
        return ended(path.name)
    except KeyError:
        raise BadInput("no bundle") from None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "9" * 12}, "other code"),
        ({"data_fingerprint": "9" * 64}, "other data"),
        ({"epochs": ["many"]}, "another version"),
        ({"colour": "red"}, "another version"),
    ],
)
def test_a_search_of_other_code_or_data_is_refused_and_leaves_nothing(
    there: There, changes: dict[str, object], says: str
) -> None:
    database = there(2)
    theirs = optuna.load_study(study_name="a search", storage=f"sqlite:///{database}")
    theirs.set_user_attr("study_config", theirs.user_attrs["study_config"] | changes)
    before = database.read_bytes()
    (row,) = rows(database)
    assert row["status"] == "refused"
    assert says in row["reason"]
    assert queue.known_studies() == []
    assert database.read_bytes() == before


def test_a_pipe_in_place_of_a_database_is_refused(mlruns: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "optuna.db")
    (row,) = rows(tmp_path / "optuna.db")
    assert row["status"] == "refused"


def test_a_search_is_read_from_a_folder_with_any_name(there: There, tmp_path: Path) -> None:
    folder = tmp_path / "what? 50%25 'a'"
    folder.mkdir()
    shutil.copy(there(2), folder)
    assert statuses(folder / "optuna.db") == ["imported"]


@pytest.mark.slow
def test_a_search_made_offline_is_synced_and_shown(harness: Command, mlruns: Path, tmp_path: Path) -> None:
    words = ("search", "--trials", "2", "--budget", "smoke", "--data", "digits", "--json")
    made = document(harness(*words, "--offline", str(tmp_path / "bundles")))
    assert "url" not in made
    assert not (mlruns / "optuna.db").exists()
    synced = document(harness("sync", str(tmp_path / "bundles"), "--json"))
    assert [row["status"] for row in synced["searches"]] == ["imported"]
    shown = document(harness(*words))
    assert [t["accuracy"] for t in shown["trials"]] == [t["accuracy"] for t in made["trials"]]
    linked = {trial["mlflow_run_id"] for trial in shown["trials"]}
    assert linked <= {run.info.run_id for run in mlflow_runs(mlruns)}
    assert Path(shown["folder"], "history.png").exists()


@pytest.mark.parametrize("option", [("--workers", "2"), ("--slurm", "time=1"), ("--to", "somewhere")])
def test_what_does_not_go_with_offline_is_refused(harness: Command, tmp_path: Path, option: tuple[str, str]) -> None:
    refused = harness("search", "--budget", "smoke", "--data", "digits", "--offline", str(tmp_path / "b"), *option)
    assert refused.returncode == 2
    assert option[0] in refused.stderr
    assert "Traceback" not in refused.stderr
