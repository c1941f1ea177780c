"""The committed evidence holds every run as it was, and what README and docs quote is what it gives."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import pyarrow as pa
import pytest
from conftest import Command, document, finished, small_config
from pyarrow import parquet

from experiments import quoted, quoted_figures, studies
from harness import experiment
from harness.analysis.design import fixed
from harness.analysis.stats import Compared, compare_family
from harness.analysis.studies import (
    Study,
    has_been_looked_at,
    progress,
    report_of,
    runs_of,
    train_images_of,
    variants_of,
)
from harness.commands import compare
from harness.commands import evidence as commands
from harness.commands.compare import is_asked_for
from harness.commands.planner import design_of
from harness.common.errors import BadInput
from harness.common.paths import PROJECT
from harness.config import Network, Recipe
from harness.data import NotFound
from harness.experiment import BASELINE
from harness.reporting.evidence_figures import AtSize, answers, size_curve
from harness.reporting.quoted import Difference, difference, filled
from harness.run_options import RunOptions
from harness.runs import evidence
from harness.runs.bundle import Sealed
from harness.runs.evidence import EvidenceRun
from harness.runs.records import Result
from harness.runs.spec import RunSpec

TAGS = {"device": "a CPU", "cpu": "a CPU", "git_commit": "abc", "git_dirty": "false", "threads": "2"}


def a_run(seed: int = 0, accuracy: float = 0.5, device: str = "a CPU", **network: str) -> EvidenceRun:
    config = dataclasses.replace(small_config(), seed=seed, network=Network(**network))  # type: ignore[arg-type]
    result = Result("finished", "", {"accuracy": accuracy}, "ab", {"cat": 0.5}, [[1, 0], [0, 1]], "code", "oA==")
    history = [{"epoch": 1, "timestamp": 2, "test_accuracy": accuracy, "gradient_ratio": math.nan}]
    if network:
        history[0]["saturated/dense"] = 0.25
    spec = RunSpec("baseline", BASELINE, "quick", "fast", "same recipe", config)
    return EvidenceRun(spec, result, history, TAGS | {"device": device}, begun=1, ended=3)


def sealed(run: EvidenceRun) -> Sealed:
    path = Path(run.config.key)
    return Sealed(path, run.spec, run.result, run.history, run.tags, "data", run.begun, run.ended, [])


def test_runs_come_back_as_they_were(tmp_path: Path) -> None:
    runs = [a_run(), a_run(1), a_run(2, activation="sigmoid"), a_run(device="another")]
    assert evidence.add(runs, tmp_path) == 4
    back = {(run.config.seed, run.tags["device"]): run for run in evidence.read(tmp_path)}
    for run in runs:
        found = back[run.config.seed, run.tags["device"]]
        # As text, because nan is not equal to itself. A metric that a run lacks is not nan, and does not come back.
        assert json.dumps(found.history) == json.dumps(run.history)
        assert dataclasses.replace(found, history=run.history) == run


def test_a_run_is_in_it_once_for_a_device_and_the_order_does_not_matter(tmp_path: Path) -> None:
    one, other = a_run(), a_run(1)
    assert evidence.add([one], tmp_path / "a") == 1
    assert evidence.add([other, one, dataclasses.replace(one, ended=9)], tmp_path / "a") == 1
    evidence.add([other, one], tmp_path / "b")
    for name in ("runs.parquet", "epochs.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_no_commit_has_is_no_evidence() -> None:
    run = a_run()
    changed = dataclasses.replace(run, tags=run.tags | {"git_dirty": "true"})
    with pytest.raises(BadInput, match="in no commit"):
        evidence.evidence_of(sealed(changed))
    assert evidence.evidence_of(sealed(changed), "def").tags["git_commit"] == "def"
    assert evidence.evidence_of(sealed(run)) == run


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    assert evidence.read(tmp_path) == []
    evidence.add([a_run()], tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"no table")
    with pytest.raises(BadInput, match="take it from git again"):
        evidence.read(tmp_path)


@pytest.mark.parametrize(("column", "value"), [("accuracy", 0.99), ("run_key", "0" * 16), ("activation", "tanh")])
def test_tables_that_somebody_changed_are_refused(tmp_path: Path, column: str, value: Any) -> None:
    evidence.add([a_run(), a_run(1)], tmp_path)
    rows = parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    rows[0][column] = value
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "runs.parquet")
    with pytest.raises(BadInput, match=column):
        evidence.read(tmp_path)


def test_a_run_that_is_in_the_tables_twice_or_without_its_epochs_is_refused(tmp_path: Path) -> None:
    evidence.write([a_run(), a_run()], tmp_path)
    with pytest.raises(BadInput, match="there twice"):
        evidence.read(tmp_path)
    evidence.write([a_run(), dataclasses.replace(a_run(1), history=[])], tmp_path)
    with pytest.raises(BadInput, match="epochs of the run"):
        evidence.read(tmp_path)


def test_a_run_that_two_devices_trained_is_one_seed_of_a_study() -> None:
    study = next(study for study in studies.STUDIES if study.name == "classic-factorial")
    known = evidence.read()
    elsewhere = [
        dataclasses.replace(run, tags=run.tags | {"device": "another"}) for run in known if run.config.seed in (3, 4)
    ]
    assert runs_of(study, [*elsewhere, *known]) == runs_of(study, known)


def test_of_a_run_of_two_devices_that_counts_whose_seed_has_most_variants_there() -> None:
    study = next(study for study in studies.STUDIES if study.name == "classic-factorial")
    known = evidence.read()
    of_seed = [each.folder for each in runs_of(study, known) if each.spec.config.seed == 3]
    elsewhere = [dataclasses.replace(run, tags=run.tags | {"device": "another"}) for run in of_seed]
    without = [run for run in known if all(run is not other for other in of_seed[1:])]
    found = [each.folder for each in runs_of(study, [*without, *elsewhere]) if each.spec.config.seed == 3]
    assert found == elsewhere


def test_devices_that_give_the_same_weights_are_counted() -> None:
    def trained(seed: int, device: str, weights: str) -> EvidenceRun:
        run = a_run(seed, device=device)
        return dataclasses.replace(run, result=dataclasses.replace(run.result, weights_sha256=weights))

    runs = [
        trained(0, "a", "x"),
        trained(0, "b", "x"),
        trained(0, "c", "y"),
        trained(1, "a", "z"),
        trained(1, "b", "y"),
    ]
    none = [trained(2, "a", ""), trained(2, "b", "")]
    assert evidence.same_weights([*runs, *none]) == {
        frozenset({"a", "b"}): (1, 2), frozenset({"a", "c"}): (0, 1), frozenset({"b", "c"}): (0, 1),
    }  # fmt: skip


def test_a_bundle_that_does_not_say_its_device_is_refused() -> None:
    run = a_run()
    tags = {name: tag for name, tag in run.tags.items() if name != "device"}
    with pytest.raises(BadInput, match="on which device"):
        evidence.evidence_of(sealed(dataclasses.replace(run, tags=tags)))


def test_a_bundle_that_the_evidence_has_is_not_asked_for_its_commit_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been added with `--commit`."""
    there, unlike, fresh = a_run(0), a_run(1), a_run(2)
    changed = {"git_dirty": "true"}
    other_weights = dataclasses.replace(unlike.result, weights_sha256="cd")
    bundles = {
        "a": sealed(dataclasses.replace(there, tags=there.tags | changed)),
        "b": sealed(dataclasses.replace(unlike, result=other_weights)),
        "c": sealed(dataclasses.replace(fresh, tags=fresh.tags | changed)),
        "d": sealed(a_run(3)),
    }
    for name in bundles:
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").touch()
    added: list[EvidenceRun] = []
    monkeypatch.setattr(commands, "read_bundle", lambda folder: bundles[folder.name])
    monkeypatch.setattr(commands.evidence, "read", lambda: [there, unlike])
    monkeypatch.setattr(commands.evidence, "add", lambda runs: added.extend(runs) or len(runs))
    document = commands.add([tmp_path], None)
    assert [each.config.seed for each in added] == [3]
    assert (document["new"], document["read"]) == (1, 4)
    assert ["another result" in document["refused"][0], "in no commit" in document["refused"][1]] == [True, True]


def test_a_study_takes_the_runs_of_its_settings_whoever_trained_them() -> None:
    study = Study(name="x", experiment="ablate_linear", budget="full", engine="jax", looks=(10,))
    known = evidence.read()
    found = runs_of(study, known)
    assert {each.spec.variant for each in found} == set(variants_of(study).values())
    assert {each.spec.config.precision for each in found} == {"bfloat16"}
    assert not runs_of(dataclasses.replace(study, precision="float32"), known)
    report = report_of(study, found)
    # It is committed, and has to be the same in any clone.
    assert str(PROJECT) not in json.dumps(report.to_json())
    assert not has_been_looked_at(study, found)
    assert has_been_looked_at(dataclasses.replace(study, looks=(7, 10)), found)
    assert report.missing == len(variants_of(study)) * 10 - len(found) > 0
    assert not runs_of(dataclasses.replace(study, data="cifar10"), known)


def test_where_nothing_was_trained_the_evidence_answers_and_says_whose_runs_they_are(harness: Command) -> None:
    completed = harness("compare", "ablate_bn", "--engine", "tensorflow", "--json")
    shown = document(completed)
    assert shown["command"] == (
        "harness run ablate_bn --engine jax --seeds 10,11,12,13,14 --precision bfloat16 --no-retune"
    )
    said = re.search(r"Nothing of ablate_bn was trained here.* from the (\d+) runs .*\(jax, bfloat16, (.*)\)",
                     " ".join(completed.stderr.split()))  # fmt: skip
    assert said
    assert (int(said[1]), said[2]) == (len(shown["runs"]), "NVIDIA H200")


def test_the_evidence_answers_too_where_only_other_experiments_were_trained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(compare, "all_runs", lambda: [Mock()])
    monkeypatch.setattr(compare, "Job", lambda *arguments: Mock(published=lambda to: []))
    (report,) = compare.compare(RunOptions(experiments=["ablate_bn"]), Mock(), tmp_path)
    assert report.experiment == "ablate_bn"
    # Those may be of another data set, and the images of CIFAR-10 not be here.
    monkeypatch.setattr(compare, "Job", Mock(side_effect=NotFound("no images")))
    (again,) = compare.compare(RunOptions(experiments=["ablate_bn"]), Mock(), tmp_path)
    assert again == report
    with pytest.raises(NotFound):
        compare.compare(RunOptions(experiments=["ablate_bn"], budget="smoke"), Mock(), tmp_path)


def test_the_recipes_of_the_readme_are_in_the_evidence_by_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(compare, "all_runs", list)
    (report,) = compare.compare(RunOptions(experiments=["baseline"], engine="jax"), Mock(), tmp_path)
    assert (len(report.runs), report.variants[0].accuracy.verdict) == (10, "exceeds")
    assert {"full-fast", "full-published"} <= {row["study"] for row in commands.status()["studies"]}


@pytest.mark.parametrize("others", [
    {"changes": {}}, {"changes": {"epochs": "2"}}, {"seeds": "3"}, {"looks": "3"}, {"split": "tune"},
    {"data": "digits"},
    {"precision": "float32"}, {"retune": True}, {"variants": ("relu",)}, {"budget": "quick"}, {"recipe": "classic"},
], ids=str)  # fmt: skip
def test_the_evidence_answers_only_what_is_asked(others: dict[str, Any]) -> None:
    study = Study(name="x", experiment="size_curve", budget="full", changes={"epochs": 1})
    asked = RunOptions(experiments=["size_curve"], changes={"epochs": "1"})
    assert is_asked_for(study, "size_curve", asked)
    assert not is_asked_for(study, "ladder", asked)
    assert is_asked_for(study, "size_curve", dataclasses.replace(asked, seeds="10", looks="4,7,10"))
    assert not is_asked_for(study, "size_curve", dataclasses.replace(asked, seeds="10"))
    assert is_asked_for(
        studies.CALIBRATION, "baseline", RunOptions(experiments=["baseline"], budget="quick", seeds="100")
    )
    assert not is_asked_for(study, "size_curve", dataclasses.replace(asked, **others))


def test_a_study_is_complete_when_its_design_calls_for_no_more() -> None:
    known = evidence.read()
    named = {study.name: study for study in studies.STUDIES}
    fast = runs_of(named["fast-linear"], known)
    at_first = [each for each in fast if each.spec.config.seed < 4]
    # Two of its three variants are open after four seeds; `linear, average pooling` is decided.
    assert progress(named["fast-linear"], at_first) == (16, 16 + 3 * 3)
    assert progress(named["fast-linear"], at_first[:-1]) == (15, 16)
    size = [each for each in runs_of(named["size-5000"], known) if each.spec.config.seed < 4]
    assert progress(named["size-5000"], size) == (12, 12)
    assert report_of(named["size-5000"], size).missing == 0


def test_a_retuned_study_has_its_tuning_and_the_runs_at_each_variants_best_rate() -> None:
    about = small_config()
    study = Study(
        name="x", experiment="ablate_scaling", variants=("unit 0-1",), seeds=(0, 1), looks=(2,), retuned=True,
        precision=about.precision, data=about.data,
    )  # fmt: skip
    best = {BASELINE: 1.0, "unit 0-1": 0.5}

    def at(network: Network, recipe: Recipe, factor: float, seed: int, split: Literal["tune", "final"]) -> EvidenceRun:
        own = dataclasses.replace(recipe, learning_rate=recipe.learning_rate * factor)
        config = dataclasses.replace(
            small_config(own, network, seed), train_images=train_images_of(study), split=split, eval_images=100
        )
        accuracy = 0.6 - 0.1 * abs(math.log2(factor / best[variants[network, recipe]])) + 0.001 * (seed % 2)
        run = a_run()
        history = [{"epoch": 1, "timestamp": 2, "test_accuracy": accuracy, "pflop": 0.1}]
        spec = dataclasses.replace(run.spec, config=config)
        return dataclasses.replace(run, spec=spec, history=history, result=finished(accuracy))

    variants = variants_of(study)
    tuning = [at(*what, factor, seed, "tune") for what in variants for factor in (0.25, 0.5, 1.0, 2.0)
              for seed in (1000, 1001)]  # fmt: skip
    judged = [at(*what, factor, seed, "final") for what in variants for factor in (0.5, 1.0) for seed in (0, 1, 2)]
    found = runs_of(study, [*tuning, *judged])
    phases = {(each.spec.phase, each.spec.variant, each.spec.factor) for each in found if each.spec.phase != "tuning"}
    assert phases == {
        ("same recipe", BASELINE, 1.0), ("same recipe", "unit 0-1", 1.0),
        ("retuned", BASELINE, 1.0), ("retuned", "unit 0-1", 0.5),
    }  # fmt: skip
    assert progress(study, found) == (8, 8)
    assert len(found) == 8 + len(tuning)
    assert has_been_looked_at(study, found)
    report = report_of(study, found)
    assert {row.variant: row.learning_rate for row in report.rows("retuned")}["unit 0-1"] == pytest.approx(
        0.5 * recipe_rate(variants, "unit 0-1")
    )
    assert (report.missing, len(report.tuning)) == (0, 2)
    # Without all of its tuning a variant has no rate yet.
    part = runs_of(study, [*tuning[1:], *judged])
    assert {each.spec.variant for each in part if each.spec.phase == "retuned"} == {"unit 0-1"}
    assert not has_been_looked_at(study, part)


def recipe_rate(variants: dict[tuple[Network, Recipe], str], name: str) -> float:
    return next(recipe.learning_rate for (_, recipe), variant in variants.items() if variant == name)


def test_a_variant_that_is_the_baseline_under_a_recipe_keeps_no_verdict_back() -> None:
    study = next(each for each in studies.FULL if each.experiment == "ablate_order")
    report = report_of(study, runs_of(study, evidence.read()))
    rows = {row.variant: row.against_baseline for row in report.variants}
    assert list(rows) == ["baseline", "norm after"]
    assert rows["norm after"]
    assert rows["norm after"].verdict == "worse"


def test_a_study_takes_the_code_of_its_own_runs_whatever_others_with_its_seeds_are_of() -> None:
    known = evidence.read()
    six = runs_of(studies.SIX_EPOCHS, known)
    late = runs_of(next(study for study in studies.AGAIN if study.experiment == "ablate_bn"), known)
    assert (len(six), len(late)) == (10, 20)
    # Of the runs with the seeds 10 to 19 most are of the later code.
    assert len({each.spec.config.source for each in (*six, *late)}) == 2


def test_every_study_is_declared_once_and_its_command_names_what_it_is() -> None:
    every = [*studies.DECLARED, *studies.RECIPES]
    assert len({study.name for study in every}) == len(every)
    assert all(len(study.seeds) >= study.looks[-1] for study in every)
    for study in every:
        asked = design_of(experiment.load(study.experiment), study.options)
        assert (asked.looks, asked.seeds) == (study.looks, study.seeds), study.name
    small = Study(name="x", experiment="size_curve", budget="quick:500", recipe="classic", changes={"epochs": 1})
    later = Study(name="x", experiment="ablate_bn", seeds=tuple(range(3, 13)))
    assert " --seeds 3,4,5,6,7,8,9,10,11,12 --looks 4,7,10 " in later.options.command
    assert small.options.command == (
        "harness run size_curve --budget quick:500 --recipe classic --engine tensorflow --set epochs=1 "
        "--precision bfloat16 --no-retune"
    )


def test_a_difference_needs_two_seeds_and_says_what_is_stuck() -> None:
    study = Study(name="x", experiment="ablate_scaling", budget="full", engine="jax")
    with pytest.raises(BadInput, match="two are needed"):
        difference(study, "raw 0-255", [])
    factorial = Study(name="x", experiment="factorial", budget="full", engine="jax")
    assert str(difference(factorial, "no scaling + no norm", evidence.read())) == "stuck in 6 of 7"


def test_the_answers_show_every_difference_and_what_is_far_away_at_the_edge() -> None:
    near, far = Difference(-0.01, (-0.02, 0.0), 7, 0, 0.8), Difference(-0.45, (-0.46, -0.44), 7, 0, 0.4)
    stuck = Difference(-0.6, (-0.9, -0.3), 7, 6, 0.2)
    first, second = answers({"one": [("near", near), ("far", far)], "two": [("stuck", stuck)]}, "where").axes
    assert [text.get_text() for text in first.texts] == [
        "-1.00 [-2.00, +0.00], n = 7", "-45.00 [-46.00, -44.00], n = 7",
    ]  # fmt: skip
    assert [line.get_marker() for line in first.lines if line.get_marker() != "None"] == ["o", "<"]
    assert [text.get_text() for text in second.texts] == ["stuck in 6 of 7"]


def test_a_figure_of_other_numbers_is_named_and_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[str, Difference]] = [("near", Difference(-0.01, (-0.02, 0.0), 7, 0, 0.8))]
    monkeypatch.setattr(quoted_figures, "rows_about", lambda question, known: rows)
    file = tmp_path / "answers.png"

    def made() -> commands.Made:
        return commands._figure(file, quoted_figures.answers([]))

    assert "not drawn from the numbers" in made().differs[0]
    made().write()
    assert not made().differs
    rows[0] = ("near", Difference(-0.02, (-0.03, 0.0), 7, 0, 0.8))
    assert made().differs
    rows[0] = ("near", Difference(-0.01 + 1e-15, (-0.02, 0.0), 7, 0, 0.8))
    assert not made().differs


def test_the_size_curve_has_every_size_and_variant() -> None:
    def found(mean: float) -> Compared:
        ours = {0: 0.49 + mean, 1: 0.53 + mean}
        (compared,) = compare_family({0: 0.5, 1: 0.52}, {"x": ours}, fixed(range(2))).values()
        assert compared.interval
        return compared

    points = {
        "linear": [AtSize(2_000, found(-0.01)), AtSize(500, found(0.07)), AtSize(50_000, found(-0.05), epochs=1)],
        "sigmoid": [AtSize(500, found(-0.1))],
    }
    (axes,) = size_curve(points, "cifar10").axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["500", "2,000", "50,000\n(1 epoch)"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["linear", "sigmoid"]
    line = next(each for each in axes.lines if each.get_label() == "linear")
    assert list(line.get_ydata()) == pytest.approx([7, -1])


def test_a_block_is_replaced_and_the_rest_of_a_page_is_kept() -> None:
    page = "a\n<!--evidence:x-->\nold\nlines\n<!--end-->\nb\n"
    made = filled(page, {"x": lambda known: "new"}, [])
    assert made == "a\n<!--evidence:x-->\nnew\n<!--end-->\nb\n"
    assert filled(made, {"x": lambda known: "new"}, []) == made
    with pytest.raises(BadInput, match="'x' that is not declared"):
        filled(page, {}, [])


def test_the_rates_of_classic_are_of_the_runs_that_chose_one() -> None:
    """The tuning of an experiment has runs of the same recipe, budget and split."""
    _, _, *rows = quoted.classic_rates(evidence.read()).splitlines()
    assert [len(row.split("|")[3].split(",")) for row in rows] == [3] * 4


def test_what_is_quoted_is_what_the_evidence_gives() -> None:
    """If this fails: `harness evidence publish` writes the pages and reports anew."""
    assert commands.verify() == []


def test_the_a_a_test_is_quoted_when_all_of_its_runs_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network, recipe = next(iter(variants_of(studies.CALIBRATION)))
    config = dataclasses.replace(
        small_config(recipe, network), train_images=5_000, precision="bfloat16", data="cifar10-jpeg75",
        engine="tensorflow", split="final",
    )  # fmt: skip
    runs = []
    for seed in range(100):
        run = a_run(accuracy=0.7 + 0.0005 * (seed * 37 % 23))
        spec = dataclasses.replace(run.spec, config=dataclasses.replace(config, seed=seed))
        runs.append(dataclasses.replace(run, spec=spec))
    monkeypatch.setattr(quoted, "FAMILIES", 20)
    said = quoted.calibration_told(runs)
    assert "100 runs of one recipe" in said
    assert "A family takes 50 of the 100 runs" in said
    with pytest.raises(BadInput, match="lacks some of the 100 runs"):
        quoted.calibration_told(runs[:-1])
    assert quoted.calibrated(runs[1:]) == {}
    # A run that diverged counts as one that guesses.
    failed = dataclasses.replace(runs[0], result=Result("diverged", "nan", {}, "", {}, []))
    assert quoted.calibrated([failed, *runs[1:]])["runs"] == 100


def test_a_quoted_number_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (evidence.PROJECT / "README.md").read_text()
    assert "0.8698 [0.8685, 0.8711]" in page
    (tmp_path / "README.md").write_text(page.replace("0.8698 [0.8685", "0.8699 [0.8685"))
    monkeypatch.setattr(commands, "PROJECT", tmp_path)
    monkeypatch.setattr(quoted_figures, "FIGURES", {})
    (found,) = commands.verify()
    assert found.startswith("README.md says")
