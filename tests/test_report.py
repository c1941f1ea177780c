"""Answers as people and programs get them: tables, sentences, figures, files, and a run in MLflow."""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import mlflow_runs
from report_builders import Lab
from rich.console import Console

from harness import experiment
from harness.analysis.report import answer
from harness.experiment import Experiment, Prediction, factorial
from harness.plan import TUNING_SEED, RunResult
from harness.reporting import sentences
from harness.reporting import text as answer_text
from harness.reporting.report_figures import draw_answer
from harness.reporting.report_files import write_answer
from harness.reporting.tables import NOTHING, flat, tables
from harness.runs.folder import RunFolder
from harness.tracking.mlflow_ids import remember
from harness.tracking.mlflow_report import LONGEST_NOTE, log_answer

NORMS = Experiment(
    variants={
        "no norm": {"normalization": "none"},
        "layer | norm": {"normalization": "layer"},
        "gelu": {"activation": "gelu"},
    },
    predictions=(
        Prediction("no norm", "worse", by=0.05),
        Prediction("layer | norm", "worse", by=0.1),
        Prediction("gelu", "equivalent"),
    ),
    mechanism=("gradient_ratio", "dead", "saturated"),
    question="Does normalization help?",
)
LEVELS = {"baseline": 0.72, "no norm": 0.60, "layer | norm": 0.69, "gelu": 0.72}
#: The best factors on the learning rate; the first is the lowest of the grid.
BEST = {"no norm": 1 / 9, "layer | norm": 1 / 3}

Answered = tuple[dict[str, Any], list[RunResult]]


def answered(lab: Lab, seeds: int, *, retuned: bool = False) -> Answered:
    outcomes = lab.under_one_recipe(seeds)
    if retuned:
        outcomes += lab.tuned(BEST) + lab.retuned(seeds, BEST)
    return answer(lab.experiment, outcomes) | {"missing": 0, "stale": 0}, outcomes


@pytest.fixture(scope="module")
def whole() -> Answered:
    """Ten seeds under the one recipe and retuned, of which two runs diverged."""
    return answered(Lab(NORMS, LEVELS, diverged=[("no norm", 3), ("no norm", 4)]), 10, retuned=True)


def column(document: dict[str, Any], title: str, name: str) -> dict[str, str]:
    """A column of the table whose title starts so, by variant."""
    table = next(table for table in tables(document) if table.title.startswith(title))
    (at,) = [i for i, header in enumerate(table.header) if header.replace("\n", " ").startswith(name)]
    return {row[0]: row[at] for row in table.rows}


def test_the_tables_hold_every_number_that_the_question_asks_for(whole: Answered) -> None:
    document, _ = whole
    assert [table.title.partition(":")[0] for table in tables(document)] == [
        "same recipe", "retuned", "inside the network, same recipe", "inside the network, retuned", "tuning",
    ]  # fmt: skip
    row = next(r for r in document["variants"] if r["variant"] == "layer | norm" and r["phase"] == "same recipe")
    compared = row["against_baseline"]
    low, high = compared["interval"]
    shown = column(document, "same recipe", "difference in points")
    assert shown["baseline"] == NOTHING
    assert shown["layer | norm"] == f"{100 * compared['mean']:+.2f}\n[{100 * low:+.2f}, {100 * high:+.2f}]"
    accuracy = column(document, "same recipe", "accuracy")["layer | norm"]
    assert accuracy.startswith(f"{row['accuracy']['mean']:.4f} ± {row['accuracy']['sd']:.4f}\n[")
    assert column(document, "same recipe", "verdict")["layer | norm"] == "worse"
    assert column(document, "same recipe", "p (Holm)")["layer | norm"] == f"{compared['p_holm']:.3f}"
    assert column(document, "same recipe", "p of ±0.5")["gelu"] != NOTHING
    assert column(document, "same recipe", "P(variant")["layer | norm"].startswith(
        f"{compared['probability_of_improvement']:.2f}\n["
    )
    assert column(document, "same recipe", "failed") == {
        "baseline": NOTHING, "no norm": "2 diverged", "layer | norm": NOTHING, "gelu": NOTHING,
    }  # fmt: skip
    epochs = column(document, "same recipe", "epochs to 0.5")["no norm"]
    assert epochs.partition(" / ")[0].endswith("*")  # two of the runs never got there
    rates = column(document, "retuned", "learning rate")
    assert float(rates["baseline"]) / float(rates["layer | norm"]) == pytest.approx(3, rel=0.01)
    assert set(column(document, "inside the network, same recipe", "dead")) == set(LEVELS)
    with pytest.raises(ValueError, match="unpack"):  # nothing of it was measured
        column(document, "inside the network", "saturated")


def test_the_terminal_and_the_page_say_the_same(whole: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    document, _ = whole
    answer_text.print_answer(document | {"missing": 3, "stale": 2, "folder": "mlruns/answers/x", "url": "http://x/#/y"})
    terminal = capsys.readouterr().out
    page = answer_text.markdown(document, ["forest.png"])
    assert terminal.splitlines()[0] == "Does normalization help?"
    assert page.startswith("# Does normalization help?\n\n- **supported**: no norm, same recipe: predicted worse by")
    for text in (terminal, page.replace("**", "").replace("\\", "")):
        assert "supported: no norm, same recipe: predicted worse by at least 5 points; measured -" in text
        assert "refuted: layer | norm, retuned: predicted worse by at least 10 points; measured -" in text
        assert "The best learning rate of no norm" in text
        assert "at the edge of the grid" in text
        assert "no norm, same recipe: 2 of 10 runs diverged (the loss was nan in epoch 2 of" in text
        assert "cifar10-jpeg75 · quick budget · recipe fast" in text
        assert "seeds 0-9" in text
        assert "not the notebook's 0.5" in text
        for table in tables(document):
            for row in table.rows:
                assert all(line in text for cell in row for line in cell.splitlines())
    assert "3 of 103 runs are not done yet" in terminal
    assert "2 finished runs of these runs are by older code" in terminal
    assert "…" not in terminal
    assert terminal.endswith("mlruns/answers/x\n  http://x/#/y\n")
    assert "![Difference to the baseline" in page
    assert "(forest.png)" in page
    assert "| layer \\| norm | 10 |" in page
    assert all(run["run_key"] in page for run in document["runs"])


def test_a_narrow_terminal_gets_the_columns_in_blocks(whole: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(answer_text, "out", Console(width=70, file=printed, force_terminal=True, color_system=None))
    document, _ = whole
    table = tables(document)[0]
    answer_text.print_table(dataclasses.replace(table, notes=[]))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 70
    assert sum(line.startswith(" gelu") for line in lines) > 1
    assert "…" not in printed.getvalue()


def test_few_seeds_are_called_too_few() -> None:
    for seeds in (1, 3):
        document, _ = answered(Lab(NORMS, LEVELS), seeds)
        assert set(column(document, "same recipe", "verdict").values()) == {NOTHING, "too few seeds"}
        assert tables(document)[0].notes[0] == "Too few seeds for a verdict: 7 needed."
        assert all(
            score == "inconclusive" and because.endswith("too few seeds for a verdict, 7 needed")
            for score, because in sentences.findings(document)
        )
    with pytest.raises(ValueError, match="unpack"):  # one seed has no p
        column(answered(Lab(NORMS, LEVELS), 1)[0], "same recipe", "p (Holm)")


def test_a_variant_that_never_finished_is_shown_all_the_same() -> None:
    document, _ = answered(Lab(NORMS, LEVELS, diverged=[("no norm", seed) for seed in range(7)]), 7)
    assert column(document, "same recipe", "accuracy")["no norm"] == NOTHING
    assert column(document, "same recipe", "failed")["no norm"] == "7 diverged"
    assert column(document, "same recipe", "verdict")["no norm"] == "worse"
    assert json.dumps(document, allow_nan=False)


def test_the_target_is_named_where_that_is_fair(tmp_path: Path) -> None:
    document, outcomes = answered(Lab(Experiment(), {"baseline": 0.875}, budget="full"), 5)
    assert column(document, "same recipe", "against 0.86") == {"baseline": "exceeds"}
    ((verdict, because),) = sentences.findings(document)
    assert verdict == "exceeds"
    assert because.startswith("baseline against the notebook's 0.86: accuracy 0.87")
    page = write_answer(document, outcomes, tmp_path).read_text()
    assert "- **exceeds**: baseline against" in page
    small, _ = answered(Lab(Experiment(), {"baseline": 0.875}), 5)
    assert sentences.findings(small) == []


def test_tuning_runs_at_full_budget_are_not_held_against_the_published_curve() -> None:
    lab = Lab(NORMS, LEVELS, budget="full")
    document = answer(NORMS, lab.tuned(BEST) + lab.under_one_recipe(1))
    assert document["split"] == "final"
    apart = {run["phase"]: run["distance_to_published"] for run in document["runs"]}
    assert apart["tuning"] is None
    assert apart["same recipe"]


def test_a_factorial_experiment_shows_its_effects(tmp_path: Path) -> None:
    design = factorial({"norm": ("normalization", "none"), "relu": ("activation", "sigmoid")})
    levels = {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.1}
    document, outcomes = answered(Lab(design, levels), 7)
    shown = column(document, "effects", "points")
    assert list(shown) == ["norm", "relu", "norm x relu"]
    # The mean of the two differences that norm makes: 0.7 - 0.6 and 0.68 - 0.1.
    assert float(shown["norm"].split()[0]) == pytest.approx(34, abs=1)
    drawn = draw_answer(document, outcomes, tmp_path)
    assert {file.name for file in drawn} == {"forest.png", "effects.png", "curves.png", "gradient_flow.png"}


def test_the_folder_holds_the_answer_for_people_and_programs(whole: Answered, tmp_path: Path) -> None:
    document, outcomes = whole
    page = write_answer(document, outcomes, tmp_path)
    names = {"README.md", "answer.json", "table.csv", "forest.png", "curves.png", "gradient_flow.png", "tuning.png"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.glob("*.png"))
    assert json.loads((tmp_path / "answer.json").read_text()) == json.loads(json.dumps(document, allow_nan=False))
    assert all(f"({file.name})" in page.read_text() for file in tmp_path.glob("*.png"))
    read = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read, flat(document), check_dtype=False)
    assert len(read) == len(document["variants"])
    row = read[(read.variant == "gelu") & (read.phase == "retuned")].iloc[0]
    wanted = next(r for r in document["variants"] if r["variant"] == "gelu" and r["phase"] == "retuned")
    assert row["against_baseline_interval_low"] == pytest.approx(wanted["against_baseline"]["interval"][0])
    assert row["data"] == "cifar10-jpeg75"
    # What is read back makes the same page: tuples are lists by then.
    again = answer_text.markdown(json.loads((tmp_path / "answer.json").read_text()), ["forest.png"])
    assert again == answer_text.markdown(document, ["forest.png"])


def test_a_figure_without_anything_to_show_is_not_drawn_and_an_old_one_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gradient_flow.png").write_bytes(b"of an earlier answer")
    document, outcomes = answered(Lab(NORMS, LEVELS, probes=False), 1)
    one_epoch = [dataclasses.replace(outcome, history=outcome.history[:1]) for outcome in outcomes]
    assert [file.name for file in draw_answer(document, one_epoch, tmp_path)] == ["forest.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["forest.png"]


def test_numbers_that_are_none_harm_no_figure(tmp_path: Path) -> None:
    document, outcomes = answered(Lab(NORMS, LEVELS, diverged=[("no norm", 0), ("no norm", 1)]), 2)
    for outcome in outcomes:
        for row, value in zip(outcome.history, (math.nan, math.inf, 0.0, -math.inf), strict=False):
            row |= {name: value for name in row if name.startswith("gradient_norm/block1")}
        outcome.history[0]["test_accuracy"] = math.nan
    assert {file.name for file in draw_answer(document, outcomes, tmp_path)} == {
        "forest.png", "curves.png", "gradient_flow.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "harness run ablate_bn --budget quick --precision float32 --seeds 7"),
        ({"changes": "dropout=0,0,0,0.5, epochs=3"}, "--set dropout=0,0,0,0.5 --set epochs=3"),
        ({"recipe": "published"}, "--precision float32 --recipe published --seeds 7"),
        ({"data": "digits"}, "--data digits"),
    ],
)
def test_the_page_ends_with_the_command_that_makes_it_again(changes: dict[str, str], wanted: str) -> None:
    lab = Lab(experiment.load("ablate_bn"), LEVELS)
    document = answer(lab.experiment, lab.under_one_recipe(7)) | {"experiment": "ablate_bn", **changes}
    assert wanted in sentences.command(document)
    assert sentences.command(document).endswith("--no-retune")


def test_the_command_names_the_seeds_and_variants_where_they_are_some_of_all() -> None:
    whole = experiment.load("ablate_bn")
    some = dataclasses.replace(whole, variants={"no norm": whole.variants["no norm"]}, predictions=())
    lab = Lab(some, LEVELS)
    outcomes = [lab.run(variant, 4, "same recipe") for variant in some.all_variants]
    command = sentences.command(answer(some, outcomes) | {"experiment": "ablate_bn"})
    assert "--seeds 4, --variant 'no norm'" in command
    runs = answer(some, outcomes) | {"experiment": "compare"}
    assert sentences.command(runs) == f"harness compare {' '.join(run['run_key'] for run in runs['runs'])}"


def test_an_answer_is_one_run_in_mlflow_that_links_its_cells(mlruns: Path, tmp_path: Path) -> None:
    lab = Lab(NORMS, LEVELS, data="synthetic")
    outcomes = lab.under_one_recipe(7) + lab.tuned(BEST)
    for number, outcome in enumerate(outcomes):
        # The folders of this test's mlruns; those of the lab were made before there was one.
        remember(RunFolder(outcome.spec.config), f"{number:032x}", "1", complete=True)
    outcomes = [dataclasses.replace(each, folder=RunFolder(each.spec.config)) for each in outcomes]
    folder = tmp_path / "answer"
    folder.mkdir()
    (folder / "README.md").write_text("preliminary")
    log_answer(answer(NORMS, outcomes[:4]), folder)
    (folder / "README.md").write_text("final")
    document = answer(NORMS, outcomes)
    url = log_answer(document, folder)

    (run,) = mlflow_runs(mlruns)
    assert run.info.run_name == "answer: ablate_test quick"
    assert run.info.status == "FINISHED"
    assert url.endswith(f"/runs/{run.info.run_id}")
    tags = run.data.tags
    assert {name: tags[name] for name in ("kind", "experiment", "budget", "recipe", "data", "split")} == {
        "kind": "answer", "experiment": "ablate_test", "budget": "quick", "recipe": "fast", "data": "synthetic",
        "split": "final",
    }  # fmt: skip
    compared = next(r for r in document["variants"] if r["variant"] == "layer | norm")["against_baseline"]
    assert run.data.metrics["difference in points/layer - norm"] == pytest.approx(100 * compared["mean"])
    note = tags["mlflow.note.content"]
    assert "**supported**: no norm" in note
    assert all(f"](#/experiments/1/runs/{each['mlflow_run_id']})" in note for each in document["runs"])
    assert (Path(run.info.artifact_uri) / "README.md").read_text() == "final"

    other = document | {"budget": "full"}
    assert log_answer(other, folder) != url
    assert len(mlflow_runs(mlruns)) == 2


def test_a_note_too_long_for_mlflow_loses_whole_links_of_the_tuning_first(mlruns: Path, tmp_path: Path) -> None:
    document, _ = answered(Lab(NORMS, LEVELS, data="synthetic"), 10, retuned=True)
    for run in document["runs"]:
        run["url"] = f"http://127.0.0.1:5000/#/experiments/1/runs/{run['run_key'] * 2}"
    (tmp_path / "answer").mkdir()
    log_answer(document, tmp_path / "answer")
    (run,) = mlflow_runs(mlruns)
    note = run.data.tags["mlflow.note.content"]
    assert len(note) <= LONGEST_NOTE
    assert note.endswith(")")
    linked = [each for each in document["runs"] if each["run_key"] * 2 in note]
    assert {each["phase"] for each in linked if each["seed"] != TUNING_SEED} == {"same recipe", "retuned"}
