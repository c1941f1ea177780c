"""Reports as people and programs get them: tables, sentences, figures, files, and a run in MLflow."""

import dataclasses
import io
import json
import math
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import metric_history, mlflow_runs
from report_builders import Lab

from harness import experiment
from harness.analysis import Design
from harness.analysis.make_report import make_report
from harness.analysis.report import Report, RunLink
from harness.common.errors import BadInput
from harness.experiment import Experiment, Prediction, factorial
from harness.reporting import sentences, summary
from harness.reporting import text as report_text
from harness.reporting.console import Terminal
from harness.reporting.publish import draw_report, folder_for, note, publish, write_report
from harness.reporting.tables import NOTHING, flat, tables
from harness.run_options import TUNING_SEEDS
from harness.runs.spec import RunResult
from harness.tracking import answer
from harness.tracking.mlflow_report import LONGEST_NOTE, log_report

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
BEST = {"no norm": 1 / 4, "layer | norm": 1 / 2}

Reported = tuple[Report, list[RunResult]]


def reported(lab: Lab, seeds: int, *, retuned: bool = False) -> Reported:
    outcomes = lab.under_one_recipe(seeds)
    if retuned:
        outcomes += lab.tuned(BEST) + lab.retuned(seeds, BEST)
    return make_report(lab.experiment, outcomes), outcomes


@pytest.fixture(scope="module")
def whole() -> Reported:
    """Ten seeds under the one recipe and retuned, of which two runs diverged."""
    return reported(Lab(NORMS, LEVELS, diverged=[("no norm", 3), ("no norm", 4)]), 10, retuned=True)


def column(report: Report, title: str, name: str) -> dict[str, str]:
    """A column of the table whose title starts so, by variant."""
    table = next(table for table in tables(report) if table.title.startswith(title))
    (at,) = [i for i, header in enumerate(table.header) if header.replace("\n", " ").startswith(name)]
    return {row[0]: row[at] for row in table.rows}


def test_the_tables_hold_every_number_that_the_question_asks_for(whole: Reported) -> None:
    report, _ = whole
    assert [table.title.partition(":")[0] for table in tables(report)] == [
        "same recipe", "retuned", "settings that differ from the baseline's", "inside the network, same recipe",
        "inside the network, retuned", "tuning",
    ]  # fmt: skip
    assert column(report, "settings", "settings")["no norm"] == "normalization=none"
    row = next(r for r in report.variants if r.variant == "layer | norm" and r.phase == "same recipe")
    compared = row.against_baseline
    low, high = compared.interval
    shown = column(report, "same recipe", "difference in points")
    assert shown["baseline"] == NOTHING
    assert shown["layer | norm"] == f"{100 * compared.mean:+.2f}\n[{100 * low:+.2f}, {100 * high:+.2f}]"
    accuracy = column(report, "same recipe", "accuracy")["layer | norm"]
    assert accuracy.startswith(f"{row.accuracy.mean:.4f} ± {row.accuracy.sd:.4f}\n[")
    assert column(report, "same recipe", "verdict")["layer | norm"] == "worse"
    assert column(report, "same recipe", "p (Holm)")["layer | norm"] == "<0.001"
    with pytest.raises(ValueError, match="unpack"):  # as many as there are
        column(report, "same recipe", "seeds compared")
    decided = dataclasses.replace(row, against_baseline=dataclasses.replace(compared, n=4))
    early = dataclasses.replace(report, variants=(report.variants[0], decided))
    assert column(early, "same recipe", "seeds compared")["layer | norm"] == "4"
    # Retuned at the recipe's own rate it is the same runs, which get no second verdict.
    assert column(report, "retuned", "verdict")["gelu"] == "that of same recipe"
    assert column(report, "same recipe", "P(variant")["layer | norm"].startswith(
        f"{compared.probability_of_improvement:.2f}\n["
    )
    assert column(report, "same recipe", "verdict")["no norm"].endswith("\n2 of 10 diverged")
    epochs = column(report, "same recipe", "epochs to 0.5")["no norm"]
    assert epochs.partition(" / ")[0].endswith("*")  # two of the runs never got there
    rates = column(report, "retuned", "learning rate")
    assert float(rates["baseline"]) / float(rates["layer | norm"]) == pytest.approx(2, rel=0.01)
    assert set(column(report, "inside the network, same recipe", "dead")) == set(LEVELS)
    with pytest.raises(ValueError, match="unpack"):  # nothing of it was measured
        column(report, "inside the network", "saturated")


def test_the_terminal_and_the_page_say_the_same(whole: Reported, capsys: pytest.CaptureFixture[str]) -> None:
    report, _ = whole
    published = dataclasses.replace(report, missing=3, stale=2, folder="mlruns/reports/x", url="http://x/#/y")
    report_text.print_report(published, details=True)
    terminal = capsys.readouterr().out
    page = report_text.markdown(report, ["forest.png"])
    assert terminal.splitlines()[0] == "Does normalization help?"
    assert page.startswith("# Does normalization help?\n\nBaseline: the 18-layer CNN of the notebook with batch norm,")
    assert "\n\nWith 10 seeds, in points of test accuracy: " in page
    assert "\n\n- **undecided**: no norm, same" in page
    for text in (terminal, page.replace("**", "").replace("\\", "")):
        assert "undecided: no norm, same recipe: predicted worse by at least 5 points; measured -" in text
        assert "did not come true: layer | norm, retuned: predicted worse by at least 10 points; measured -" in text
        assert "The best learning rate of no norm" in text
        assert "at the edge of the grid" in text
        assert "no norm, same recipe: 2 of 10 runs diverged (the loss was nan in epoch 2 of" in text
        assert "cifar10-jpeg75 · quick budget · recipe fast" in text
        assert "seeds 0-9" in text
        assert "not the notebook's 0.5" in text
        for table in tables(report):
            for row in table.rows:
                assert all(line in text for cell in row for line in cell.splitlines())
    assert "3 of 123 runs are not done yet" in terminal
    assert "2 of these runs were done by older code" in terminal
    assert "…" not in terminal
    assert "  mlruns/reports/x\n  http://x/#/y\n" in terminal
    caveats = summary.caveats(report)
    assert all(caveat in page for caveat in caveats)
    assert "Settings: no norm is normalization=none; " in sentences.baseline(report)
    assert report_text.escaped(sentences.baseline(report)) in page
    assert sentences.baseline(report) in terminal
    last = [summary.answer(report), *caveats, summary.differences(report), summary.next_step(report)[0]]
    assert terminal.splitlines()[-len(last) :] == last
    assert "![Difference to the baseline" in page
    assert "(forest.png)" in page
    assert "| layer \\| norm | worse |" in page
    assert all(run.run_key in page for run in report.runs)


def test_a_narrow_terminal_gets_the_columns_in_blocks(whole: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(report_text, "out", Terminal(width=70, file=printed, force_terminal=True, color_system=None))
    report, _ = whole
    table = tables(report)[0]
    report_text.print_table(dataclasses.replace(table, notes=[]))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 70
    assert sum(line.startswith(" gelu") for line in lines) > 1
    assert "…" not in printed.getvalue()


def test_few_seeds_are_called_too_few() -> None:
    for seeds in (1, 3):
        lab = Lab(NORMS, LEVELS)
        report = make_report(NORMS, lab.under_one_recipe(seeds), Design(tuple(range(10)), (4, 7, 10)))
        assert set(column(report, "same recipe", "verdict").values()) == {NOTHING, "too few seeds"}
        assert tables(report)[0].notes[0] == "Too few seeds for a verdict: 4 needed."
        assert all(
            score == "undecided" and because.endswith("too few seeds for a verdict, 4 needed")
            for score, because in sentences.findings(report)
        )
    with pytest.raises(ValueError, match="unpack"):  # one seed has no p
        column(reported(Lab(NORMS, LEVELS), 1)[0], "same recipe", "p (Holm)")


def test_a_variant_that_never_finished_is_shown_all_the_same() -> None:
    report, _ = reported(Lab(NORMS, LEVELS, diverged=[("no norm", seed) for seed in range(7)]), 7)
    assert column(report, "same recipe", "accuracy")["no norm"] == NOTHING
    assert column(report, "same recipe", "verdict")["no norm"] == "worse\n7 of 7 diverged"
    assert json.dumps(report.to_json(), allow_nan=False)


def test_the_target_is_named_where_that_is_fair(tmp_path: Path) -> None:
    report, outcomes = reported(Lab(Experiment(), {"baseline": 0.875}, budget="full"), 5)
    assert column(report, "same recipe", "against 0.86") == {"baseline": "exceeds"}
    ((verdict, because),) = sentences.findings(report)
    assert verdict == "exceeds"
    assert because.startswith(
        "baseline against the notebook's 0.86 (its own curve: 0.867 over the last 20 epochs): accuracy 0.87"
    )
    page = write_report(report, outcomes, tmp_path).read_text()
    assert "- **exceeds**: baseline against" in page
    small, _ = reported(Lab(Experiment(), {"baseline": 0.875}), 5)
    assert sentences.findings(small) == []


def test_tuning_runs_at_full_budget_are_not_held_against_the_published_curve() -> None:
    lab = Lab(NORMS, LEVELS, budget="full")
    report = make_report(NORMS, lab.tuned(BEST) + lab.under_one_recipe(1))
    assert report.split == "final"
    apart = {run.phase: run.distance_to_published for run in report.runs}
    assert apart["tuning"] is None
    assert apart["same recipe"]


def test_a_factorial_experiment_shows_its_effects(tmp_path: Path) -> None:
    design = factorial({"norm": ("normalization", "none"), "relu": ("activation", "sigmoid")})
    levels = {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.2}
    report, outcomes = reported(Lab(design, levels), 7)
    shown = column(report, "effects", "points")
    assert list(shown) == ["norm", "relu", "norm x relu"]
    # The mean of the two differences that norm makes: 0.7 - 0.6 and 0.68 - 0.2.
    assert float(shown["norm"].split()[0]) == pytest.approx(29, abs=1)
    drawn = draw_report(report, outcomes, tmp_path)
    assert {file.name for file in drawn} == {
        "forest.png", "effects.png", "interactions.png", "curves.png", "gradient_flow.png",
    }  # fmt: skip


def test_a_factorial_experiment_has_no_effects_where_a_run_is_stuck() -> None:
    design = factorial({"norm": ("normalization", "none"), "relu": ("activation", "sigmoid")})
    report, _ = reported(Lab(design, {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.1}), 7)
    assert not report.effects
    assert "No effects and interactions" in " ".join(tables(report)[0].notes)
    assert report.to_json()["no_effects"]


def test_the_folder_holds_the_answer_for_people_and_programs(whole: Reported, tmp_path: Path) -> None:
    report, outcomes = whole
    page = write_report(report, outcomes, tmp_path)
    names = {
        "report.html",
        "README.md",
        "report.json",
        "table.csv",
        "forest.png",
        "curves.png",
        "gradient_flow.png",
        "tuning.png",
    }
    assert {file.name for file in tmp_path.iterdir()} == names
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.glob("*.png"))
    assert json.loads((tmp_path / "report.json").read_text()) == report.to_json()
    assert all(f"({file.name})" in page.read_text() for file in tmp_path.glob("*.png"))
    read = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read, flat(report), check_dtype=False)
    assert len(read) == len(report.variants)
    row = read[(read.variant == "layer | norm") & (read.phase == "retuned")].iloc[0]
    wanted = next(r for r in report.variants if r.variant == "layer | norm" and r.phase == "retuned")
    assert row["against_baseline_interval_low"] == pytest.approx(wanted.against_baseline.interval[0])
    assert row["data"] == "cifar10-jpeg75"


def test_a_figure_without_anything_to_show_is_not_drawn_and_an_old_one_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gradient_flow.png").write_bytes(b"of an earlier answer")
    report, outcomes = reported(Lab(NORMS, LEVELS, probes=False), 1)
    one_epoch = [dataclasses.replace(outcome, history=outcome.history[:1]) for outcome in outcomes]
    assert [file.name for file in draw_report(report, one_epoch, tmp_path)] == ["forest.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["forest.png"]


def test_numbers_that_are_none_harm_no_figure(tmp_path: Path) -> None:
    report, outcomes = reported(Lab(NORMS, LEVELS, diverged=[("no norm", 0), ("no norm", 1)]), 2)
    for outcome in outcomes:
        for row, value in zip(outcome.history, (math.nan, math.inf, 0.0, -math.inf), strict=False):
            row |= {name: value for name in row if name.startswith("gradient_norm/block1")}
        outcome.history[0]["test_accuracy"] = math.nan
    assert {file.name for file in draw_report(report, outcomes, tmp_path)} == {
        "forest.png", "curves.png", "gradient_flow.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "harness run ablate_bn --budget quick --engine tensorflow --precision float32 --seeds 7"),
        ({"changes": "dropout=0,0,0,0.5, epochs=3"}, "--set dropout=0,0,0,0.5 --set epochs=3"),
        ({"recipe": "published"}, "--precision float32 --recipe published --seeds 7"),
        ({"data": "digits"}, "--data digits"),
    ],
)
def test_the_page_ends_with_the_command_that_makes_it_again(changes: dict[str, str], wanted: str) -> None:
    lab = Lab(experiment.load("ablate_bn"), LEVELS)
    report = make_report(lab.experiment, lab.under_one_recipe(7))
    report = dataclasses.replace(report, **{"experiment": "ablate_bn"} | changes)
    assert wanted in sentences.command(report)
    assert sentences.command(report).endswith("--no-retune")


def test_the_command_names_the_seeds_and_variants_where_they_are_some_of_all() -> None:
    whole = experiment.load("ablate_bn")
    some = dataclasses.replace(whole, variants={"no norm": whole.variants["no norm"]}, predictions=())
    lab = Lab(some, LEVELS)
    outcomes = [lab.run(variant, 4, "same recipe") for variant in some.all_variants]
    report = make_report(some, outcomes)
    command = sentences.command(dataclasses.replace(report, experiment="ablate_bn"))
    assert "--seeds 4, --variant 'no norm'" in command
    runs = dataclasses.replace(report, experiment="compare df8090d3")
    assert sentences.command(runs) == f"harness compare {' '.join(run.run_key for run in runs.runs)}"


def test_a_report_is_one_run_in_mlflow_that_links_its_runs(mlruns: Path, tmp_path: Path) -> None:
    lab = Lab(NORMS, LEVELS, data="synthetic")
    results = lab.under_one_recipe(7) + lab.tuned(BEST)
    links = {
        each.spec.config.key: RunLink(f"{number:032x}", f"http://127.0.0.1:5000/#/experiments/1/runs/{number:032x}")
        for number, each in enumerate(results)
    }
    publish(make_report(NORMS, results[:4]), results[:4], tmp_path)
    report = publish(make_report(NORMS, results, links=links), results, tmp_path)

    (run,) = mlflow_runs(mlruns)
    assert run.info.run_name == "report: ablate_test quick"
    assert run.info.status == "FINISHED"
    assert report.url.endswith(f"/runs/{run.info.run_id}")
    assert Path(report.folder) == tmp_path / "ablate_test-fast-quick-synthetic"
    tags = run.data.tags
    assert {name: tags[name] for name in ("kind", "experiment", "budget", "recipe", "data", "split")} == {
        "kind": "report", "experiment": "ablate_test", "budget": "quick", "recipe": "fast", "data": "synthetic",
        "split": "final",
    }  # fmt: skip
    compared = next(r for r in report.variants if r.variant == "layer | norm").against_baseline
    assert run.data.metrics["difference in points/layer - norm"] == pytest.approx(100 * compared.mean)
    text = tags["mlflow.note.content"]
    assert "**came true**: no norm" in text
    assert all(f"](#/experiments/1/runs/{each.mlflow_run_id})" in text for each in report.runs)
    assert (Path(run.info.artifact_uri) / "report.html").read_text().startswith("<!doctype html>")
    page = Path(run.info.artifact_uri) / "README.md"
    assert page.read_text() == (Path(report.folder) / "README.md").read_text()

    assert publish(dataclasses.replace(report, budget="full"), results, tmp_path).url != report.url
    assert len(mlflow_runs(mlruns)) == 2


def test_mlflow_shows_the_newest_report_and_nothing_of_earlier_ones(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, report = time.time(), tmp_path / "report"
    (report / "a").mkdir(parents=True)

    def shown(metrics: dict[str, float], clock: float = now) -> tuple[str, dict[str, float], set[str]]:
        monkeypatch.setattr(answer.time, "time", lambda: clock)
        log_report("synthetic", "report", {"kind": "report", "experiment": "e"}, "note", metrics, report)
        (run,) = mlflow_runs(mlruns)
        folder = Path(run.info.artifact_uri)
        files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        return run.info.run_id, run.data.metrics, files

    (report / "a" / "forest.png").write_bytes(b"")
    first, *_ = shown({"accuracy/bn": 0.9}, now + 86_400)
    # The clock was set back: MLflow shows the latest of a step, and the highest step of all.
    assert shown({"accuracy/bn": 0.8}) == (first, {"accuracy/bn": 0.8}, {"a/forest.png"})
    more = {"accuracy/bn": 0.8, "accuracy retuned/bn": 0.7}
    assert shown(more) == shown(more) == (first, more, {"a/forest.png"})
    assert metric_history(mlruns, first, "accuracy/bn") == [(0, 0.9), (1, 0.8)]
    second, metrics, _ = shown({"accuracy/bn": 0.8})
    assert metrics == {"accuracy/bn": 0.8}
    (report / "a" / "forest.png").rename(report / "curves.png")
    third, _, files = shown({"accuracy/bn": 0.8})
    assert files == {"curves.png"}
    assert len({first, second, third}) == 3


def test_a_note_too_long_for_mlflow_loses_whole_links_of_the_tuning_first() -> None:
    report, _ = reported(Lab(NORMS, LEVELS, data="synthetic"), 10, retuned=True)
    runs = [
        dataclasses.replace(run, url=f"http://127.0.0.1:5000/#/experiments/1/runs/{run.run_key * 2}")
        for run in report.runs
    ]
    text = note(dataclasses.replace(report, runs=tuple(runs)))
    assert len(text) <= LONGEST_NOTE
    assert text.endswith(")")
    linked = [run for run in runs if run.run_key * 2 in text]
    assert {run.phase for run in linked if run.seed not in TUNING_SEEDS} == {"same recipe", "retuned"}


def test_no_interval_goes_beyond_what_accuracies_can_be() -> None:
    lab = Lab(NORMS, {"baseline": 0.7, "no norm": 0.6, "group norm": 0.65})
    results = lab.under_one_recipe(2)
    for number, each in enumerate(each for each in results if each.spec.variant == "no norm"):
        each.result.metrics["accuracy"] = (0.2, 0.95)[number]
    row = next(row for row in make_report(NORMS, results).variants if row.variant == "no norm")
    assert row.accuracy
    assert row.accuracy.interval == (0.0, 1.0)
    assert row.against_baseline
    assert row.against_baseline.interval == (-1.0, 1.0)


def test_a_seed_counts_once(tmp_path: Path) -> None:
    results = Lab(NORMS, LEVELS).under_one_recipe(4)
    with pytest.raises(BadInput, match=r"baseline, same recipe: seed 0 is there 2 times: .*\. Name one"):
        make_report(NORMS, [*results, results[0]])


def test_a_report_with_many_settings_has_a_folder_all_the_same(tmp_path: Path) -> None:
    names = [folder_for(tmp_path, f"ablate_bn-fast-{'é' * 300}{end}").name for end in "ab"]
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 250 and name.startswith("ablate_bn-fast-") for name in names)
