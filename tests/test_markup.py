"""Names are text: brackets in them are shown and never taken for rich's markup."""

import contextlib
import dataclasses
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_builders import Lab

from harness.analysis.make_report import make_report
from harness.analysis.report import Report, SelectionBias
from harness.experiment import Experiment, Prediction, factorial
from harness.reporting.console import preview, print_runs
from harness.reporting.search_report import print_anytime, print_search
from harness.reporting.text import print_report, print_single

#: Brackets, slashes, backslashes and colons in all orders; and what means something to rich.
NAMES = st.text("[]/\\:ab=@", min_size=1, max_size=8) | st.sampled_from(
    ["[red]", "[/]", "[/red]", "[bold red]x[/]", "a[0]", "\\[x]", ":smile:", "[link=x]", "[@click=f]"]
)


def printed(show: Callable[[Any], None], what: Any) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        show(what)
    return shown.getvalue()


def named(name: str, report: Report) -> Report:
    """The report with that name in every place that has one."""
    return dataclasses.replace(
        report,
        experiment=name,
        question=f"Is {name} better?",
        recipe=name,
        changes=f"x={name}",
        variants=tuple(dataclasses.replace(row, variant=name) for row in report.variants),
        tuning=tuple(dataclasses.replace(row, variant=name) for row in report.tuning),
        effects=tuple(dataclasses.replace(row, effect=name) for row in report.effects),
        predictions=tuple(dataclasses.replace(row, variant=name) for row in report.predictions),
        runs=tuple(dataclasses.replace(run, variant=name, name=name, reason=name) for run in report.runs),
        selection_bias=(SelectionBias(name, 0.1, 0.05, (0.0, 0.1), 0.05),),
        folder=f"mlruns/{name}",
        url=f"http://{name}",
    )


@pytest.fixture(scope="module")
def whole() -> Report:
    design = factorial({"norm": ("normalization", "none")}, predictions=(Prediction("no norm", "worse"),))
    lab = Lab(dataclasses.replace(design, mechanism=("dead",)), {}, diverged=[("no norm", 0)])
    return make_report(lab.experiment, lab.under_one_recipe(2) + lab.tuned({"no norm": 4.0}))


@pytest.fixture(scope="module")
def single() -> Report:
    lab = Lab(Experiment(), {"baseline": 0.8}, budget="full", diverged=[("baseline", 1)])
    return make_report(lab.experiment, lab.under_one_recipe(2))


@given(name=NAMES)
@settings(deadline=None, max_examples=60)
def test_in_a_report(whole: Report, name: str) -> None:
    lines = printed(partial(print_report, details=True), named(name, whole)).splitlines()
    assert lines[0] == f"Is {name} better?"
    # As a variant in two tables and their rows, as an effect, in the tuning and in the gains of a search.
    assert sum(line.startswith(f" {name} ") for line in lines) >= 7
    assert any(line.startswith(f"! {name}, same recipe: ") and line.endswith(f" diverged ({name}).") for line in lines)
    place = lines.index(f"  mlruns/{name}")
    assert lines[place + 1] == f"  http://{name}"
    assert any(line.startswith(f"{name}: ") for line in lines[place + 2 :])
    assert printed(print_report, named(name, whole)).count(f" {name} ") >= 2


@given(name=NAMES)
@settings(deadline=None, max_examples=60)
def test_in_the_report_of_one_variant(single: Report, name: str) -> None:
    shown = printed(print_single, named(name, single))
    assert f"{name} diverged: {name}." in shown
    assert f"{name} · recipe {name} · n = 2" in shown
    assert f"\n  {name}  run " in shown


@given(name=NAMES)
@settings(deadline=None)
def test_in_lists_of_runs(name: str) -> None:
    run = {"name": name, "run_key": "0", "status": name, "accuracy": None, "trained": True}
    shown = printed(print_runs, {"runs": [run], "folder": name})
    assert f" {name} " in shown
    assert shown.endswith(f"they are in {name}\n")
    spec = {"name": name, "phase": "same recipe", "run_key": "0", "done": False}
    plan = {"specs": [spec], "unknown_yet": 0, "stale": 0, "seconds": None}
    assert f" {name} " in printed(preview, plan)


@given(name=NAMES)
@settings(deadline=None)
def test_in_searches(name: str) -> None:
    trial = {
        "trial": 0, "ended": "complete", "accuracy": 0.5, "is_baseline": True, "recipe": {"x": name},
    }  # fmt: skip
    search = {
        "question": name, "study": name, "sampler": "tpe", "pruner": "none", "epochs": [1, 3], "precision": "float32",
        "trials": [trial] * 20, "waiting": 0, "pflop": 1.0, "training_seconds": 1.0, "best": 0, "best_accuracy": 0.5,
        "baseline_accuracy": 0.5, "importances": {name: 1.0}, "command": f"harness search {name}", "folder": name,
    }  # fmt: skip
    lines = printed(print_search, search).splitlines()
    assert lines[0] == name
    assert sum(f" {name} " in f"{line} " for line in lines) >= 4
    assert any("PED-ANOVA over 20 complete trials" in line for line in lines)
    assert any(f"`harness search {name} --confirm`" in line for line in lines)
    difference = {"of": name, "against": name, "mean": 0.01, "interval": None, "p": None}
    document = {
        "pflop": 1.0, "data": name, "budget": "quick", "baseline_accuracy": 0.5, "files": [name],
        "methods": [{"method": name, "best": [0.5], "mean": 0.5}], "differences": [difference],
    }  # fmt: skip
    shown = printed(print_anytime, document)
    assert f"  {name} against {name}: +1.00 points (no test: the repetitions do not differ)\n" in shown
    assert f" {name} " in shown
