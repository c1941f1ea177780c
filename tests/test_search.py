"""A search is honest: its space holds the baseline, its study has one set of terms, its winners are judged anew."""

import contextlib
import dataclasses
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import Command, document
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int
from optuna.trial import TrialState

from harness import plan
from harness.analysis.design import Design
from harness.commands import worker
from harness.commands.search import SearchJob, SearchOptions
from harness.common.errors import BadInput, HarnessError
from harness.config import Network, change
from harness.data import Dataset
from harness.execute import queue_database, work_queue, worker_loop
from harness.recipes import BUDGETS, RECIPES, rate_for_batch, recipe_called, save
from harness.reporting.progress import RunsDisplay
from harness.reporting.publish import folder_for
from harness.reporting.search_progress import SearchDisplay
from harness.run_options import TUNING_SEED
from harness.runs.records import Result
from harness.search import Case, Search, load
from harness.search.objective import Unfit
from harness.search.space import describe, parameters_of, sample
from harness.search.spec import PRUNERS, SAMPLERS, step_of
from harness.search.study import (
    FEWEST_FOR_IMPORTANCES,
    best_of,
    check_compatible,
    describe_study,
    finished,
    importances,
    open_search,
    plan_trials,
    recorded_config,
    study_config_of,
    study_name,
)
from harness.tracking.recorder import MlflowRecorder

FAST = RECIPES["fast"][1]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(0)

    def images(n: int):
        return rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), np.arange(n, dtype=np.int32) % 10

    return Dataset("none", "f" * 64, "nowhere", "made", tuple("abcdefghij"), *images(200), *images(100))


@pytest.fixture
def settings() -> plan.Settings:
    return plan.Settings(budget="smoke", split="tune")


@given(st.integers(0, 10_000))
def test_what_is_sampled_is_a_recipe_and_its_parameters_are_known(seed: int) -> None:
    search = load("search")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    sampled = sample(search.space, trial)
    _, recipe = change(Network(), FAST, sampled)
    assert set(trial.params) <= set(describe(search.space))
    assert parameters_of(search.space, recipe) == pytest.approx(trial.params)
    # A condition that is not met leaves the baseline's value.
    assert ("momentum" in sampled) == (recipe.optimizer != "adamw")


def test_the_baseline_comes_first_and_is_the_run_of_the_ablations(dataset: Dataset, settings: plan.Settings) -> None:
    search = load("search")
    fixed = optuna.trial.FixedTrial(parameters_of(search.space, FAST))
    sampled = sample(search.space, fixed)
    assert change(Network(), FAST, sampled) == (Network(), FAST)
    changes = search.changes_at(FAST, plan.shrunk_recipe(dataset, settings)[1], sampled)
    (ablated,) = plan.run_specs("e", plan.Experiment(), dataset, settings, [TUNING_SEED])
    searched = plan.run_spec("s", "baseline", changes, dataset, settings, TUNING_SEED, "search")
    assert searched.config.key == ablated.config.key


@given(
    st.sampled_from(["muon", "sgd", "adamw"]), st.sampled_from([64, 128, 256]), st.floats(0.001, 1.0),
    st.integers(20, 50_000),
)  # fmt: skip
def test_a_budget_shrinks_every_recipe_as_the_baseline(
    optimizer: str, batch_size: int, rate: float, images: int
) -> None:
    shrunk = BUDGETS["quick"].shrink(FAST, images)
    sampled = {"optimizer": optimizer, "batch_size": batch_size, "learning_rate": rate}
    changes = load("search").changes_at(FAST, shrunk, sampled)
    assert changes["batch_size"] == max(2, round(batch_size * shrunk.batch_size / 128))
    assert changes["learning_rate"] == rate_for_batch(optimizer, rate, batch_size, changes["batch_size"])


def test_a_space_that_does_not_hold_the_baseline_is_refused() -> None:
    with pytest.raises(BadInput, match=r"learning_rate is 0\.04"):
        parameters_of({"learning_rate": Float(0.1, 0.2)}, FAST)
    with pytest.raises(BadInput, match="optimizer is muon"):
        parameters_of({"optimizer": Choice(["sgd", "adam"])}, FAST)
    assert parameters_of({"momentum": Case("optimizer", {"sgd": Float(0.1, 0.2)}), "shift": Int(0, 4)} | {
        "optimizer": Choice(["muon", "sgd"])}, FAST)["shift"] == 2  # fmt: skip


@pytest.mark.parametrize("epochs", [1, 2, 3, 8, 200])
def test_the_last_rung_is_the_whole_run(epochs: int) -> None:
    rungs = Search(space={}, rungs=(1 / 9, 1 / 3, 1.0), pruner="halving").rungs_of(epochs)
    assert rungs == sorted(set(rungs))
    assert rungs[0] >= 1
    assert rungs[-1] == epochs
    assert Search(space={}, rungs=(1 / 9, 1.0), pruner="none").rungs_of(epochs) == [epochs]


@pytest.fixture
def study(mlruns: Path, dataset: Dataset, settings: plan.Settings):
    """A study over a small space, its terms, and what declares it."""
    search = Search(space={"learning_rate": Float(0.01, 0.1)}, sampler="random")
    terms = study_config_of("search", search, dataset, settings)
    return open_search(study_name(terms), terms), terms, search


def test_a_study_keeps_its_terms_and_names_what_differs(study) -> None:
    opened, terms, _ = study
    assert recorded_config(opened) == terms
    assert opened.metric_names == ["validation accuracy"]
    check_compatible(opened, terms)
    for differs, words in (
        ({"source": "b" * 12}, "source was .* and is bbbbbbbbbbbb here"),
        ({"data_fingerprint": "e" * 64}, "data_fingerprint was ffffffffffff and is eeeeeeeeeeee here"),
        ({"space": {}}, "learning_rate was .* and is not there here"),
        ({"space": terms.space | {"shift": "{}"}}, "shift was not there"),
        ({"sampler": "tpe"}, "--study NAME"),
        ({"baseline": "d" * 16}, "baseline was .* and is dddddddddddddddd here"),
    ):
        with pytest.raises(BadInput, match=words):
            check_compatible(opened, dataclasses.replace(terms, **differs))


def test_trials_are_planned_once_and_the_baseline_first(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 3)
    plan_trials(opened, search, terms, 5)
    plan_trials(opened, search, terms, 2)
    values = []

    def run(trial: optuna.Trial) -> float:
        values.append(trial.suggest_float("learning_rate", 0.01, 0.1))
        return values[-1]

    worker_loop.work([opened], lambda spec: pytest.fail("no specs"), run)
    assert len(values) == 5
    assert values[0] == FAST.learning_rate
    assert [trial.user_attrs["slot"] for trial in finished(opened)] == list(range(5))
    assert best_of(finished(opened)).value == max(values)
    assert describe_study(opened, "?")["baseline_accuracy"] == FAST.learning_rate


def test_what_was_cut_off_is_tried_again_as_the_same_recipe(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 3)
    seen = []

    def run(trial: optuna.Trial) -> float:
        seen.append(trial.suggest_float("learning_rate", 0.01, 0.1))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        worker_loop.work([opened], lambda spec: 0.0, run)
    assert len(finished(opened)) == 1
    plan_trials(opened, search, terms, 3)
    worker_loop.work([opened], lambda spec: 0.0, run)
    assert [trial.state for trial in finished(opened)] == [TrialState.COMPLETE] * 3
    assert Counter(seen)[seen[1]] == 2


def test_a_baseline_that_is_cut_off_before_it_is_sampled_stays_the_baseline(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 1)

    def run(trial: optuna.Trial) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker_loop.work([opened], lambda spec: 0.0, run)
    plan_trials(opened, search, terms, 1)
    worker_loop.work([opened], lambda spec: 0.0, lambda trial: trial.suggest_float("learning_rate", 0.01, 0.1))
    assert describe_study(opened, "?")["baseline_accuracy"] == FAST.learning_rate


def test_a_worker_that_fails_trial_after_trial_stops(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 9)

    def run(trial: optuna.Trial) -> float:
        raise RuntimeError("the GPU is lost")

    with pytest.raises(queue_database.CannotGoOn):
        worker_loop.work([opened], lambda spec: 0.0, run)
    assert len(finished(opened)) == worker_loop.MOST_FAILURES - 1


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"learning_rat": Float(0.1, 0.2)}, "no setting 'learning_rat'"),
        ({"momentum": Case("optimizer", {"sgd": Float(0.1, 0.2)})}, "'optimizer', which does not stand before it"),
        ({"dropout": Float(0.1, 0.2)}, "dropout is four distributions"),
        ({"dropout": (Float(0.1, 0.2),)}, "dropout is four distributions"),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(space, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.search

    monkeypatch.setattr(experiments.search, "search", Search(space=space))
    with pytest.raises(BadInput, match=says):
        load("search")


def test_what_is_no_fault_of_the_recipe_costs_no_trial(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 2)

    def run(trial: optuna.Trial) -> float:
        raise HarnessError("the disk is full")

    with pytest.raises(queue_database.CannotGoOn):
        worker_loop.work([opened], lambda spec: 0.0, run)
    assert not finished(opened)


def test_a_trial_that_fails_of_itself_is_kept_as_failed(study) -> None:
    opened, terms, search = study
    plan_trials(opened, search, terms, 2)

    def run(trial: optuna.Trial) -> float:
        raise Unfit("batch_size is out of range")

    worker_loop.work([opened], lambda spec: 0.0, run)
    assert [trial["reason"] for trial in describe_study(opened, "?")["trials"]] == ["batch_size is out of range"] * 2


def test_every_sampler_and_pruner_can_be_made() -> None:
    for make in SAMPLERS.values():
        assert isinstance(make(), optuna.samplers.BaseSampler)
    for name, make_pruner in PRUNERS.items():
        study = optuna.create_study(direction="maximize", pruner=make_pruner())
        for value in (0.5, 0.6, 0.7, 0.8, 0.9, 0.1):
            trial = study.ask()
            trial.report(value, step_of(0))
            given_up = trial.should_prune()
            study.tell(trial, value)
        # The worst of its rung is given up, but where nothing ever is.
        assert given_up == (name != "none")


def test_a_diverged_trial_counts_as_worse_than_chance(study, dataset: Dataset, monkeypatch) -> None:
    from harness.search import objective as trials

    opened, terms, search = study
    plan_trials(opened, search, terms, 1)
    diverged = Result("diverged", "the loss was nan in epoch 1 of 3", {}, "", {}, [])
    worker_loop.work(
        [opened],
        lambda spec: 0.0,
        lambda t: trials.objective(t, search, terms, dataset, lambda spec: diverged, lambda *told: None),
    )
    (only,) = describe_study(opened, "?")["trials"]
    assert (only["ended"], only["accuracy"], only["reason"]) == ("diverged", 0.0, diverged.reason)
    # It steers the sampler, but is nothing to compare with.
    assert describe_study(opened, "?")["baseline_accuracy"] is None


def test_a_saved_recipe_is_a_recipe_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.recipes.SAVED", tmp_path / "recipes")
    better = dataclasses.replace(FAST, learning_rate=0.05, dropout=(0.1, 0.2, 0.3, 0.4))
    network = Network(normalization_place="after")
    file = save("better", network, better, {"trial": 3})
    assert recipe_called("better") == (network, better)
    for name in ("better", "fast", "no name", "../x"):
        with pytest.raises(BadInput, match="cannot name a new recipe"):
            save(name, network, better, {})
    wrong = ('{"recipe": {"momentum": 1.5}, "network": {}}', '{"recipe": {"optimizer": "sdg"}, "network": {}}')
    for damaged in ("{}", "{", '{"recipe": {}}', '{"recipe": {}, "network": []}', "[" * 100_000, *wrong):
        file.write_text(damaged)
        with pytest.raises(BadInput, match=r"better\.json holds no recipe"):
            recipe_called("better")
    assert recipe_called("fast") == (Network(), FAST)


def test_bad_words_are_refused_before_anything_is_made(harness: Command, mlruns: Path) -> None:
    for arguments, says in (
        (["--trials", "0"], "--trials 0"),
        (["--sampler", "tpo"], "did you mean tpe"),
        (["--pruner", "halfing"], "did you mean halving"),
        (["--save", "x"], "--confirm"),
        (["--seeds", "3,5"], "--seeds 3,5 goes with --confirm"),
        (["--details"], "--details goes with --confirm"),
        (["serch"], "did you mean search"),
    ):
        refused = harness("search", *arguments, "--budget", "smoke", "--data", "digits")
        assert refused.returncode == 2, refused.stderr
        assert says in " ".join(refused.stderr.split())
    assert not (mlruns / "optuna.db").exists()


SEARCH = ("search", "--budget", "smoke", "--data", "digits", "--json")


def test_a_search_runs_and_is_published(harness: Command) -> None:
    found = document(harness(*SEARCH, "--trials", "2"))
    assert [trial["is_baseline"] for trial in found["trials"]] == [True, False]
    assert found["baseline_accuracy"] == found["trials"][0]["accuracy"]
    files = {file.name for file in Path(found["folder"]).iterdir()}
    assert {"README.md", "search.json", "trials.csv", "history.png", "explore.html"} <= files
    # Plotly is in it, and once.
    page = (Path(found["folder"]) / "explore.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]* (src|href)=", page)
    assert page.count("Plotly.newPlot(") >= 2
    assert 4_000_000 < len(page) < 8_000_000


@pytest.mark.slow
def test_a_search_goes_on_and_is_confirmed(harness: Command) -> None:
    first = document(harness(*SEARCH, "--trials", "2", "--workers", "2"))
    whole = document(harness(*SEARCH, "--trials", "4", "--workers", "2"))
    assert [trial["run_key"] for trial in whole["trials"]][:2] == [trial["run_key"] for trial in first["trials"]]
    assert len(whole["trials"]) == 4
    confirmed = document(harness(*SEARCH, "--trials", "4", "--confirm", "--seeds", "2"))
    assert confirmed["split"] == "final"
    assert confirmed["variants"][0]["variant"] == "baseline"
    # Again, it shows what it found.
    again = document(harness(*SEARCH, "--trials", "4", "--confirm", "--seeds", "2"))
    assert again["variants"] == confirmed["variants"]
    assert all(
        each["selection_bias"] == pytest.approx(each["searched"] - each["confirmed"])
        for each in confirmed["selection_bias"]
    )


@pytest.mark.parametrize(("count", "told"), [(FEWEST_FOR_IMPORTANCES - 1, False), (FEWEST_FOR_IMPORTANCES, True)])
def test_importances_wait_for_enough_complete_trials(count: int, told: bool) -> None:
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + 0.1 * trial.suggest_float("y", 0, 1), n_trials=count)
    assert bool(importances(study, study.trials)) == told


def searched(options: SearchOptions, ended: int) -> SearchJob:
    """A search of some trials without training, stopped after so many of them."""
    job = SearchJob(options, MlflowRecorder())
    plan_trials(job.study, job.search, job.study_config, job.trials)

    def run(trial: optuna.Trial) -> float:
        if len(finished(job.study)) == ended:
            raise KeyboardInterrupt
        trial.set_user_attr("recipe", {"learning_rate": 0.01 + 0.001 * trial.number})
        return 0.1 + 0.01 * trial.number

    with contextlib.suppress(KeyboardInterrupt):
        worker_loop.work([job.study], lambda spec: 0.0, run)
    assert len(finished(job.study)) == ended
    return job


SMOKE = SearchOptions(budget="smoke", data="digits")


@pytest.mark.parametrize(("trials", "ended", "asked"), [(6, 3, None), (6, 3, 2), (4, 4, 50)])
def test_a_search_that_is_not_finished_is_not_confirmed(
    mlruns: Path, trials: int, ended: int, asked: int | None
) -> None:
    searched(dataclasses.replace(SMOKE, trials=trials), ended)
    job = SearchJob(dataclasses.replace(SMOKE, trials=asked, confirm=True), MlflowRecorder())
    total = max(trials, asked or 0)
    with pytest.raises(BadInput, match=f"{ended} of {total} trials are done: .* without --confirm .*--trials {total} "):
        job.confirm([0, 1])
    assert not (mlruns / "designs").exists()


@pytest.fixture
def designs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Design, str]]:
    """The design and the command of each confirmation; nothing is trained."""
    found: list[tuple[Design, str]] = []

    def make_report(experiment: object, done: object, design: Design, *, command: str, **others: object) -> None:
        found.append((design, command))
        raise StopIteration

    monkeypatch.setattr("harness.commands.search.train_all", lambda *what: {})
    monkeypatch.setattr("harness.commands.search.make_report", make_report)
    return found


@pytest.mark.parametrize("asked", [None, 3, 4])
def test_the_command_of_a_confirmation_names_the_trials_there_are(
    mlruns: Path, designs: list[tuple[Design, str]], asked: int | None
) -> None:
    searched(dataclasses.replace(SMOKE, trials=4), 4)
    with pytest.raises(StopIteration):
        SearchJob(dataclasses.replace(SMOKE, trials=asked, confirm=True), MlflowRecorder()).confirm([0, 1])
    assert "--trials 4 " in designs[0][1]


def test_other_winners_after_a_confirmation_are_exploratory(mlruns: Path, designs: list[tuple[Design, str]]) -> None:
    for trials, study in ((4, ""), (4, ""), (6, ""), (6, ""), (6, "another")):
        options = dataclasses.replace(SMOKE, trials=trials, study=study)
        searched(options, trials)
        with pytest.raises(StopIteration):
            SearchJob(dataclasses.replace(options, confirm=True), MlflowRecorder()).confirm([0, 1])
    assert [design.exploratory for design, _ in designs] == [False, False, True, True, False]


def test_a_study_that_is_not_there_is_not_made_by_confirming_it(mlruns: Path) -> None:
    with pytest.raises(BadInput, match="'search fast smoke digits tpe 3': there is none yet"):
        SearchJob(dataclasses.replace(SMOKE, study="tpe 3", confirm=True), MlflowRecorder())
    SearchJob(dataclasses.replace(SMOKE, study="tpe 2"), MlflowRecorder())
    with pytest.raises(BadInput, match="did you mean search fast smoke digits tpe 2"):
        SearchJob(dataclasses.replace(SMOKE, study="tpe 3", confirm=True), MlflowRecorder())
    assert work_queue.known_studies() == ["search fast smoke digits tpe 2"]


def test_without_submitit_no_trial_is_queued(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(HarnessError, match="pip install submitit"):
        SearchJob(dataclasses.replace(SMOKE, slurm="time=1"), MlflowRecorder()).run()
    assert work_queue.known_studies() == []


def test_a_worker_says_that_nothing_waits(study, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("harness.commands.worker.recorded_config", lambda study: None)
    worker.work([study[0].study_name], probe=False, parent="")
    assert f"Nothing waits in {study[0].study_name!r}" in capsys.readouterr().err


def test_two_studies_have_two_folders(tmp_path: Path) -> None:
    names = [f"search fast smoke digits {suffix}" for suffix in ("q 1", "q_1", "q:1", "q/1", "q'1")]
    assert len({folder_for(tmp_path, name) for name in names}) == len(names)
    assert folder_for(tmp_path, names[0]).name == "search_fast_smoke_digits_q_1"


def test_the_folder_of_the_workers_logs_is_the_one_that_is_used(
    study, mlruns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for display in (SearchDisplay(study[0], 2), RunsDisplay([], 2)):
        with display:
            pass
        assert f"their logs are in {mlruns / 'workers'}" in capsys.readouterr().err
