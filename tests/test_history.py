"""What the epochs of several runs come to, by numbers worked out by hand."""

import dataclasses
import math

import pytest
from conftest import small_config

from harness.analysis.history import Inside, Reached, code_that_measured_last, mechanism, reached
from harness.analysis.make_report import make_report
from harness.experiment import Experiment
from harness.metrics import EARLIER
from harness.reporting.tables import tables
from harness.runs.folder import RunFolder
from harness.runs.records import History, Result
from harness.runs.spec import RunResult, RunSpec
from harness.source_hash import measures_hash


def run(history: History, measured_by: str = "new", status: str = "finished", seed: int = 0) -> RunResult:
    spec = RunSpec("e", "baseline", "quick", "fast", "same recipe", small_config(seed=seed))
    metrics = {"accuracy": 0.5, "cross_entropy": 1.0} if status == "finished" else {}
    return RunResult(spec, RunFolder(spec.config), Result(status, "", metrics, "", {}, [], measured_by), history)


def curve(*accuracies: float, name: str = "test_accuracy") -> History:
    return [{"epoch": epoch, name: accuracy} for epoch, accuracy in enumerate(accuracies, start=1)]


def test_an_accuracy_is_reached_in_the_first_epoch_that_has_it_by_the_median_run() -> None:
    fast, slow, never = curve(0.5, 0.4, 0.9), curve(0.1, 0.2, 0.3, 0.5), curve(0.1, 0.49)
    assert reached([fast], 0.5) == Reached(1, 1)
    assert reached([fast, slow], 0.5) == Reached(2.5, 1)
    assert reached([fast, slow, slow, never], 0.5) == Reached(4, 0.75)
    assert reached([never, never], 0.5) == Reached(None, 0)
    assert reached([[]], 0.5) == Reached(None, 0)
    assert reached([curve(0.1, 0.6, name="validation_accuracy")], 0.5) == Reached(2, 1)
    assert reached([curve(0.0)], 0.0) == Reached(1, 1)
    # Not even an epoch that was not judged counts as one that reached it.
    assert reached([curve(0.9, name="train_accuracy")], 0.5) == Reached(None, 0)


def test_measures_are_averaged_over_layers_and_epochs_and_the_runs_give_an_interval() -> None:
    one = run([{"dead/a": 0.1, "dead/b": 0.3, "deadline": 9.0}, {"dead/a": 0.5, "dead/b": math.nan}])
    other = run([{"dead/a": 0.7, "test_accuracy": 0.9}])
    found, left_out = mechanism([one, other, run([{"dead/a": math.nan}])], ["dead", "saturated"], "new")
    assert (found["saturated"], left_out) == (None, 0)
    dead = found["dead"]
    # Each run counts once, however many epochs it has: 0.3 and 0.7. t(0.975, 1) = 12.706, standard error 0.2.
    assert dead
    assert dead.interval
    assert (dead.n, dead.mean) == (2, pytest.approx(0.5))
    assert dead.interval == pytest.approx((0.5 - 12.706 * 0.2, 0.5 + 12.706 * 0.2), rel=1e-4)
    # One run, or equal ones, have no spread.
    assert mechanism([one], ["dead"], "new")[0]["dead"] == Inside(1, pytest.approx(0.3), None)
    assert mechanism([one, one], ["dead"], "new")[0]["dead"] == Inside(2, pytest.approx(0.3), None)


@pytest.mark.parametrize("measure", ["gradient_norm", "gradient_ratio"])
def test_ratios_and_norms_are_averaged_as_logarithms(measure: str) -> None:
    runs = [run([{f"{measure}/a": 1e-4, f"{measure}/b": 1e2}]), run([{measure: 1e-4}])]
    # The exponents are -1 and -4: -2.5, standard error 1.5.
    found = mechanism(runs, [measure], "new")[0][measure]
    assert found
    assert found.interval
    assert found.mean == pytest.approx(10**-2.5)
    assert math.log10(found.interval[1]) == pytest.approx(-2.5 + 12.706 * 1.5, rel=1e-4)
    # Zero counts as 1e-30, and is not lost: the exponents are -30 and 2.
    zero = mechanism([run([{f"{measure}/a": 0.0, f"{measure}/b": 1e2}])], [measure], "new")[0][measure]
    assert zero
    assert zero.mean == pytest.approx(1e-14, rel=1e-6, abs=0)


def test_the_code_that_measured_last_is_that_of_the_finished_run_that_ended_last() -> None:
    def measured(end: int, code: str, status: str = "finished", measure: str = "dead/a") -> RunResult:
        return run([{"timestamp": 0, measure: 0.1}, {"timestamp": end, measure: 0.1}], code, status)

    runs = [measured(5, "b"), measured(7, "c"), measured(6, "a"), measured(8, "d", "diverged")]
    runs += [measured(9, "e", measure="saturated/a")]
    assert code_that_measured_last(runs, ["dead"]) == "c"
    assert code_that_measured_last(runs, ["dead", "saturated"]) == "e"
    assert code_that_measured_last(runs, []) == ""
    assert code_that_measured_last([run([])], ["dead"]) == ""


def test_what_older_code_measured_is_left_out_and_said() -> None:
    def measured(seed: int, code: str, value: float) -> RunResult:
        return run(
            [{"epoch": 1, "timestamp": seed, "test_accuracy": 0.5, "pflop": 0.1, "dead/a": value}], code, seed=seed
        )

    runs = [measured(0, "", 0.9), measured(1, "old", 0.8), measured(2, "new", 0.2), measured(3, "new", 0.4)]
    experiment = Experiment(mechanism=("dead",))
    report = make_report(experiment, runs)
    dead = report.variants[0].mechanism["dead"]
    assert dead
    assert (dead.n, dead.mean) == (2, pytest.approx(0.3))
    assert report.variants[0].measured_by_older_code == 2
    (table,) = [table for table in tables(report) if table.title.startswith("inside")]
    assert table.notes[-1] == "Measured by older code and left out: 2 runs."
    # One of several measures is enough to be left out.
    several = make_report(Experiment(mechanism=("dead", "saturated")), runs).variants[0]
    assert (several.mechanism["saturated"], several.measured_by_older_code) == (None, 2)
    # A run without any of these measures is not left out of anything.
    unseen = dataclasses.replace(runs[0], history=[{"epoch": 1, "timestamp": 0, "test_accuracy": 0.5, "pflop": 0.1}])
    assert make_report(experiment, [unseen, *runs[2:]]).variants[0].measured_by_older_code == 0
    (table,) = [t for t in tables(make_report(experiment, runs[1:])) if t.title.startswith("inside")]
    assert table.notes[-1] == "Measured by older code and left out: 1 run."
    (table,) = [t for t in tables(make_report(experiment, runs[2:])) if t.title.startswith("inside")]
    assert not any("older code" in note for note in table.notes)


def test_what_was_measured_by_other_code_than_todays_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [{"epoch": 1, "timestamp": 1, "test_accuracy": 0.5, "pflop": 0.1, "dead/a": 0.2}]
    experiment = Experiment(mechanism=("dead",))
    for code, note in (("old", "Measured by earlier code (old)"), (measures_hash("tensorflow"), "dead: share of")):
        report = make_report(experiment, [run(history, code, seed=seed) for seed in (0, 1)])
        (table,) = [table for table in tables(report) if table.title.startswith("inside")]
        assert table.notes[0].startswith(note)
        assert report.to_json().get("measured_by", "") == ("old" if code == "old" else "")
    history = [row | {"input_drift/a": 0.2} for row in history]
    report = make_report(Experiment(mechanism=("input_drift", "dead")), [run(history, "b2d2155ea0bc", seed=0)])
    (table,) = [table for table in tables(report) if table.title.startswith("inside")]
    assert "so this says nothing about covariate shift" in table.notes[1]
    assert table.notes[2].startswith("dead: share of")
    # A measure was added since, and this one is what it was.
    monkeypatch.setitem(EARLIER, "old", {})
    (table,) = [table for table in tables(make_report(experiment, [run(history, "old")])) if "inside" in table.title]
    assert table.notes[0].startswith("dead: share of")


def test_the_geometric_mean_is_called_so() -> None:
    history = [{"epoch": 1, "timestamp": 1, "test_accuracy": 0.5, "pflop": 0.1, "dead/a": 0.2, "gradient_ratio": 0.5}]
    report = make_report(Experiment(mechanism=("dead", "gradient_ratio")), [run(history)])
    (table,) = [table for table in tables(report) if "inside" in table.title]
    assert "The mean of gradient_ratio is the geometric one." in table.notes
