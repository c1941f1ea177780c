"""A study survives its workers, which are killed at random, and its database, which is restarted."""

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from conftest import command
from optuna.trial import TrialState

from harness.execute import work_queue as queue
from harness.execute import worker_loop
from harness.search import Search
from harness.search.space import describe
from harness.search.study import StudyConfig, finished, open_search, plan_trials

DECLARED = Search(space={}, sampler="random")

TERMS = StudyConfig(
    search="stub", recipe="fast", budget="smoke", engine="none", precision="float32", data="none", data_fingerprint="",
    source="", sampler="random", pruner="none", baseline="", epochs=[1], space=describe(DECLARED.space),
)  # fmt: skip


def work(environment: dict[str, str]) -> None:
    """A worker whose trials take no computing: each opens an MLflow run, waits, and ends it."""
    os.environ |= environment
    from harness.common.process import signs_of_life
    from harness.tracking import open_mlflow

    client = open_mlflow().MlflowClient()
    wait = random.Random(os.getpid())

    def search(trial) -> float:
        value = trial.suggest_float("x", 0.0, 1.0)
        run = client.create_run("0", tags={"run_key": str(trial.user_attrs["slot"])} | signs_of_life())
        time.sleep(wait.uniform(0.0, 0.3))
        client.set_terminated(run.info.run_id)
        return value

    worker_loop.work([queue.open_study("stub")], lambda spec: pytest.fail("there are no runs"), search)


def survive(workers: int, trials: int, *, seconds: float = 1, restart=lambda: None) -> None:
    """Kill a random worker every `seconds` until the study is through; `restart` is called half-way."""
    environment = {name: os.environ[name] for name in ("HARNESS_MLRUNS", "OPTUNA_STORAGE", "MLFLOW_TRACKING_URI")}
    # Forked from a process without threads: starting each worker anew would take longer than it gets to live.
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["harness.execute.worker_loop", "mlflow", "test_survival"])
    rng = random.Random(0)
    study = open_search("stub", TERMS)
    plan_trials(study, DECLARED, TERMS, trials)
    alive: list = []
    killed = restarted = 0
    deadline = time.monotonic() + 10 * trials
    while not queue.is_empty(study):
        assert time.monotonic() < deadline, "the study does not come to its end"
        alive = [worker for worker in alive if worker.is_alive()]
        while len(alive) < workers:
            alive.append(forks.Process(target=work, args=(environment,)))
            alive[-1].start()
        time.sleep(seconds)
        if len(finished(study)) < trials - 2 * workers:
            rng.choice(alive).kill()
            killed += 1
        if not restarted and len(finished(study)) > trials // 2:
            restart()
            restarted = 1
    for worker in alive:
        worker.join(60)
        assert worker.exitcode is not None, "a worker does not end although nothing is left to do"
    # What is left: a worker may have died between giving a dead one's trial up and letting it wait again.
    plan_trials(study, DECLARED, TERMS, trials)
    last = forks.Process(target=work, args=(environment,))
    last.start()
    last.join(60)
    assert killed >= trials // 20
    ended = study.get_trials()
    assert not [trial for trial in ended if not trial.state.is_finished()]
    slots = Counter(trial.user_attrs["slot"] for trial in ended if trial.state == TrialState.COMPLETE)
    assert slots == dict.fromkeys(range(trials), 1)
    assert study.best_value == max(trial.value for trial in ended if trial.state == TrialState.COMPLETE)
    from harness import tracking

    mlflow = tracking.open_mlflow()
    tracking.mark_dead_runs(mlflow)
    runs = mlflow.MlflowClient().search_runs(["0"], max_results=5000)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert sum(run.info.status == "FINISHED" for run in runs) >= trials


@pytest.fixture
def tracked(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow server: opening a database takes each worker longer than it gets to live."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", serve(*command("ui")))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.Server]:
    if postgres.BINARIES is None:
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    with postgres.running() as running:
        monkeypatch.setenv("OPTUNA_STORAGE", running.url)
        yield running


@pytest.fixture
def sqlite(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{mlruns / 'optuna.db'}")


def restarted(server: postgres.Server) -> None:
    server.stop()
    time.sleep(1)
    server.start()


@pytest.mark.usefixtures("tracked")
def test_four_workers_on_postgresql_survive(server: postgres.Server) -> None:
    survive(workers=4, trials=60, restart=lambda: restarted(server))


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("sqlite", "tracked")
def test_two_hundred_trials_on_sqlite_survive() -> None:
    survive(workers=2, trials=200, seconds=2)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("tracked")
def test_two_hundred_trials_on_postgresql_survive(server: postgres.Server) -> None:
    survive(workers=4, trials=200, restart=lambda: restarted(server))
