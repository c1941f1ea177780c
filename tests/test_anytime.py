"""Searches compared at equal cost: the best so far never falls, and what cannot be compared is refused by name."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.commands import calibrate
from harness.commands.record import _finished
from harness.common.errors import BadInput
from harness.reporting.publish import publish_anytime
from harness.reporting.search_report import print_anytime
from harness.search.anytime import COMMON, _best_so_far, anytime

trials = st.lists(
    st.tuples(st.none() | st.floats(0.1, 0.9), st.floats(0.001, 1)), min_size=1, max_size=20
)  # fmt: skip


def search(study: str, found: list[tuple[float | None, float]], sampler: str = "tpe", **changes: Any) -> dict[str, Any]:
    rows = [{"trial": n, "accuracy": a, "pflop": p} for n, (a, p) in enumerate(found)]
    common = dict.fromkeys(COMMON, "same") | {"baseline_accuracy": 0.3}
    return common | {"study": study, "sampler": sampler, "pruner": "none", "trials": rows} | changes


def written(folder: Path, *searches: dict[str, Any]) -> list[Path]:
    files = [folder / f"{number}.json" for number in range(len(searches))]
    for file, document in zip(files, searches, strict=True):
        file.write_text(json.dumps(document))
    return files


@given(trials)
def test_the_best_so_far_is_the_best_of_what_has_ended(found: list[tuple[float | None, float]]) -> None:
    curve = _best_so_far(search("a", found))
    spent, best = 0.0, None
    expected = []
    for accuracy, pflop in found:
        spent += pflop
        best = accuracy if best is None or (accuracy or 0) > best else best
        if best is not None:
            expected.append((spent, best))
    assert [value for _, value in expected] == curve.tolist()
    assert [cost for cost, _ in expected] == pytest.approx(curve.index.tolist())


def test_ways_are_compared_where_the_cheapest_search_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(
        tmp_path,
        search("a", [(0.3, 1), (0.4, 1), (0.9, 1)]),
        search("b", [(0.3, 1), (None, 0.5), (0.5, 0.5)]),
        search("c", [(0.3, 1), (0.2, 1)], sampler="random"),
        search("d", [(0.3, 1), (0.1, 2)], sampler="random"),
    )
    document = publish_anytime(files, tmp_path)
    assert document["pflop"] == 2
    assert {row["method"]: row["best"] for row in document["methods"]} == {
        "tpe, pruner none": [0.4, 0.5],
        "random, pruner none": [0.3, 0.3],
    }
    (difference,) = document["differences"]
    assert difference["mean"] == pytest.approx(0.15)
    assert difference["interval"][0] < 0.15 < difference["interval"][1]
    assert set(pd.read_csv(tmp_path / "anytime.csv")["study"]) == set("abcd")
    assert (tmp_path / "anytime.png").stat().st_size > 10_000
    print_anytime(document)
    shown = capsys.readouterr().out
    assert "+15.00 points" in shown
    assert all(f"  {tmp_path / f'anytime.{kind}'}\n" in shown for kind in ("csv", "json", "png"))


def test_a_search_whose_baseline_has_no_accuracy_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_anytime(publish_anytime(written(tmp_path, search("a", [(0.3, 1)], baseline_accuracy=None)), tmp_path))
    assert "the baseline has –\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (search("b", [(0.3, 1)], data="other"), "differ in data"),
        (search("a", [(0.3, 1)]), "given twice"),
        (search("b", [(None, 1)]), "no search with a finished trial"),
        (search("b", [(None, 1), (0.3, 1)]), "'b' has its first result at 2 PFLOP, and another one spent 1"),
        ({"trials": [{"accuracy": 1}]}, "it lacks data"),
        ([], "no search"),
        (search("b", [(0.3, 1)], trials=[{"accuracy": 0.3}]), "no search"),
        (search("b", [(0.3, 1)], trials=[1]), "no search"),
        (search("b", [(0.3, 1)], trials=5), "no search"),
        (search("b", [("high", 1)]), "a trial has accuracy 'high'"),
        (search("b", [(0.3, None)]), "a trial has pflop None"),
        (search("b", [(float("nan"), 1)]), "a trial has accuracy nan"),
        (search("b", [(0.3, float("inf"))]), "a trial has pflop inf"),
        (search("b", [(0.3, 1)]) | {"study": ["b"]}, r"it has study \['b'\]"),
        (search("b", [(0.3, 1)]) | {"sampler": None}, "it has sampler None"),
        (search("b", [(0.3, 1)], baseline_accuracy="high"), "it has baseline_accuracy 'high'"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, other: Any, says: str) -> None:
    files = written(tmp_path, search("a", [(0.3, 1)]), other)
    with pytest.raises(BadInput, match=says):
        anytime(files)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.json"):
        anytime([tmp_path / "nothing.json"])


@pytest.mark.parametrize(
    "read", [lambda file: anytime([file]), calibrate.read, lambda file: list(_finished(file, None))]
)
def test_no_file_that_is_named_is_waited_for_or_nested_too_deep(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[]")[:-6])
    for name in ("pipe.json", "deep.json", "cut.json.gz"):
        with pytest.raises(BadInput, match=name):
            read(tmp_path / name)


def test_equal_repetitions_have_no_test_whatever_their_mean_is_rounded_to(tmp_path: Path) -> None:
    found = {"tpe": 0.1, "random": 0.3}
    repeated = [search(f"{name} {i}", [(best, 1)], name) for name, best in found.items() for i in range(3)]
    (difference,) = anytime(written(tmp_path, *repeated))[0]["differences"]
    assert (difference["interval"], difference["p"]) == (None, None)


def test_repetitions_that_do_not_differ_have_no_test_and_the_file_is_json(tmp_path: Path) -> None:
    samplers = {"a": "tpe", "b": "tpe", "c": "random", "d": "random"}
    files = written(tmp_path, *(search(study, [(0.3, 1)], sampler) for study, sampler in samplers.items()))
    publish_anytime(files, tmp_path)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    document = json.loads((tmp_path / "anytime.json").read_text(), parse_constant=refuse)
    (difference,) = document["differences"]
    assert difference == {
        "of": "tpe, pruner none",
        "against": "random, pruner none",
        "mean": 0,
        "interval": None,
        "p": None,
    }
