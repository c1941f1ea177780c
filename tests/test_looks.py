"""From look to look: which runs a command trains, and seeds that were added after one."""

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import finished

from harness import experiment
from harness.analysis.studies import Study
from harness.analysis.tuning import FACTORS, SEEDS
from harness.commands import campaign, planner
from harness.commands import run as commands
from harness.commands.detect import detect, print_detect
from harness.commands.run import Job
from harness.common import paths
from harness.common.errors import BadInput
from harness.common.hardware import cpu_name
from harness.data import load
from harness.experiment import Experiment, Prediction
from harness.run_options import RunOptions
from harness.runs import evidence
from harness.runs.declared import contradicts, declare
from harness.runs.folder import RunFolder
from harness.runs.spec import RunSpec
from harness.tracking.recorder import BundleRecorder, MlflowRecorder, Recorder

NORMS = Experiment(
    variants={
        "far": {"normalization": "none"},
        "near": {"normalization": "group"},
        "open": {"normalization": "layer"},
    },
    predictions=(Prediction("open", "worse", by=0.03),),
    question="?",
)
#: Mean and spread of each: `near` cannot be told from the baseline, and of `open` it is unsure whether it is 3 points.
LEVEL = {"baseline": (0.7, 0.003), "far": (0.5, 0.003), "near": (0.698, 0.01), "open": (0.668, 0.003)}

Trained = list[tuple[str, int]]


@pytest.fixture
def trained(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The variant and seed of each run that a command trains; nothing is really trained."""
    runs: Trained = []

    def train(specs: list[RunSpec], *_: object) -> set[str]:
        for spec in specs:
            runs.append((spec.variant, spec.config.seed))
            mean, sd = LEVEL[spec.variant]
            seed = [spec.config.seed, len(spec.variant), round(1000 * spec.factor)]
            accuracy = mean + sd * np.random.default_rng(seed).normal()
            if spec.phase == "tuning":
                accuracy = 0.5 + (spec.factor == 1) * 0.1
            folder = RunFolder(spec.config)
            with folder.locked():
                folder.finish(finished(accuracy), [])
        return {spec.config.key for spec in specs}

    monkeypatch.setattr(commands, "train_all", train)

    def is_done(spec: RunSpec, recorder: Recorder) -> bool:
        folder = RunFolder(spec.config)
        return not folder.damage() and folder.result() is not None

    monkeypatch.setattr(planner, "is_done", is_done)
    monkeypatch.setattr(experiment, "load", lambda name: NORMS)
    digits = load("digits")
    monkeypatch.setattr(planner, "find_data", lambda which, may_fall_back: digits)
    return runs


def job(*, recorder: Recorder | None = None, **options: object) -> Job:
    usual = {"experiments": ["norms"], "budget": "quick", "retune": False}
    return Job(RunOptions(**usual | options), recorder or BundleRecorder())  # type: ignore[arg-type]


def seeds(runs: Trained, variant: str) -> list[int]:
    return [seed for name, seed in runs if name == variant]


def test_a_command_looks_after_4_7_and_10_seeds_and_stops_what_is_decided(trained: Trained) -> None:
    assert {spec.config.seed for spec in job().planned()} == {0, 1, 2, 3}
    job().train()
    assert seeds(trained, "far") == [0, 1, 2, 3]
    # Worse at the first look, but its prediction was open until a later one.
    assert len(seeds(trained, "open")) in (7, 10)
    assert seeds(trained, "near") == seeds(trained, "baseline") == list(range(10))
    (report,) = job().publish()
    assert {row.variant: row.against_baseline and row.against_baseline.n for row in report.variants} == {
        "baseline": None, "far": 4, "near": 10, "open": len(seeds(trained, "open")),
    }  # fmt: skip
    assert (report.missing, report.looks, report.exploratory) == (0, (4, 7, 10), False)
    before = list(trained)
    job().train()
    assert trained == before
    assert job().preview()["unknown_yet"] == 0


def test_the_runs_of_a_seed_stand_together(trained: Trained) -> None:
    job().train()
    first = trained[: trained.index(("baseline", 4))]
    assert first == [(variant, seed) for seed in range(4) for variant in LEVEL]


def test_a_retuned_pair_that_was_judged_gets_no_further_seeds(trained: Trained) -> None:
    job(retune=True).train()
    assert len(trained) == len(set(trained)) + 4 * (len(FACTORS) - 1) * len(SEEDS)


def test_a_fixed_number_of_seeds_is_looked_at_once(trained: Trained) -> None:
    job(seeds="5").train()
    assert all(seeds(trained, variant) == list(range(5)) for variant in LEVEL)
    (report,) = job(seeds="5").publish()
    assert (report.looks, report.exploratory) == ((5,), False)
    assert job(seeds="5").preview()["unknown_yet"] == 0


def test_other_seeds_may_be_looked_at_as_often(trained: Trained) -> None:
    asked = {"seeds": "3,5,6,7,8,9", "looks": "4,6", "precision": "float32"}
    job(**asked).train()
    assert seeds(trained, "far") == [3, 5, 6, 7]
    assert seeds(trained, "near") == [3, 5, 6, 7, 8, 9]
    (report,) = job(**asked).publish()
    assert (report.missing, report.looks, report.exploratory) == (0, (4, 6), False)
    assert report.command == (
        "harness run norms --budget quick --engine tensorflow --seeds 3,5,6,7,8,9 --looks 4,6 --precision float32 "
        "--no-retune"
    )
    # Without seeds they are the first ones.
    assert job(looks="2,3", budget="full").designs["norms"].seeds == (0, 1, 2)


def test_looks_without_variants_are_refused(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "load", lambda name: Experiment(question="?"))
    with pytest.raises(BadInput, match="is for variants"):
        job(seeds="10", looks="4,7,10")


def test_a_run_that_the_design_does_not_call_for_is_not_read(trained: Trained) -> None:
    job().train()
    spare = next(spec for spec in job(seeds="10").planned() if (spec.variant, spec.config.seed) == ("far", 9))
    folder = RunFolder(spare.config)
    with folder.locked():
        folder.finish(finished(), [])
    for file in filter(Path.is_file, folder.path.iterdir()):
        file.write_text("{")
    (report,) = job().publish()
    assert report.missing == 0


@pytest.mark.parametrize("looks", ["", "1,4", "4,4", "7,4", "4,x", "4,,7", "-4", "4,7", "2000"])
def test_looks_that_are_none_are_refused(trained: Trained, looks: str) -> None:
    with pytest.raises(BadInput, match="--looks"):
        job(seeds="10", looks=looks)


def train_studies(monkeypatch: pytest.MonkeyPatch, *declared: Study, dirty: str = "false") -> None:
    """Do as `harness evidence run`, in this process and where the other commands here keep their runs."""
    here = [dataclasses.replace(study, data="digits") for study in declared]
    monkeypatch.setattr(campaign, "studies", SimpleNamespace(STUDIES=here))
    monkeypatch.setattr(campaign, "choose_recorder", lambda to: BundleRecorder())
    monkeypatch.setattr(campaign.os, "nice", lambda by: 0)
    monkeypatch.setattr(campaign, "provenance", lambda: {"git_dirty": dirty})
    campaign.train(Path("bundles"))


def test_studies_come_to_their_first_look_one_after_the_other_then_to_the_next(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Study(name="one", experiment="norms", seeds=tuple(range(3, 13)), precision="float32")
    other = Study(name="other", experiment="norms", recipe="classic", looks=(10,), precision="float32")
    train_studies(monkeypatch, one, other)
    first = [(variant, seed) for seed in range(3, 7) for variant in LEVEL]
    then = [(variant, seed) for seed in range(10) for variant in LEVEL]
    assert trained[:56] == first + then
    # What is decided at a look is not trained further.
    assert {variant for variant, _ in trained[56:]} in ({"baseline", "near"}, {"baseline", "near", "open"})
    assert [seed for variant, seed in trained[56:] if variant == "baseline"] == list(range(7, 13))
    jobs = [Job(study.options, BundleRecorder()) for study in (one, other)]
    assert campaign.left(jobs) == "0 runs"


def test_what_is_in_the_committed_evidence_is_not_trained_again(
    trained: Trained, mlruns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(name="one", experiment="norms", precision="float32", retuned=True)
    train_studies(monkeypatch, study)
    (_, done), *_ = Job(study.options, BundleRecorder()).published(None)
    monkeypatch.setattr(RunFolder, "environments", lambda self: [{"device": cpu_name()}])
    whole = len(trained)
    early = [each for each in done if each.spec.config.seed < 2 and each.spec.phase != "retuned"]
    for committed in (early, done):
        monkeypatch.setattr(campaign, "runs_of", lambda study, known, there=committed: there)
        shutil.rmtree(mlruns)
        trained.clear()
        train_studies(monkeypatch, study)
        assert len(trained) == whole - len({each.spec.config.key for each in committed})


def test_the_variants_of_a_seed_are_trained_on_one_device(
    trained: Trained, mlruns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(name="one", experiment="norms", precision="float32", looks=(10,))
    train_studies(monkeypatch, study)
    (_, done), *_ = Job(study.options, BundleRecorder()).published(None)
    shutil.rmtree(mlruns)
    trained.clear()
    # Of seed 3 a variant is missing.
    committed = [each for each in done if (each.spec.variant, each.spec.config.seed) != ("near", 3)]
    monkeypatch.setattr(campaign, "runs_of", lambda study, known: committed)
    monkeypatch.setattr(RunFolder, "environments", lambda self: [{"device": "another"}])
    train_studies(monkeypatch, study)
    assert trained == [(variant, 3) for variant in LEVEL]
    # It is so too where the variant that was missing has been trained here since.
    shutil.rmtree(next(RunFolder(each.spec.config).path for each in committed if each.spec.config.seed == 3))
    train_studies(monkeypatch, study)
    assert trained == [*((variant, 3) for variant in LEVEL), ("baseline", 3)]
    # A device like this one, or one that has given the same weights in all that both have trained.
    for device, same in ((cpu_name(), {}), ("another", {frozenset({cpu_name(), "another"}): (7, 7)})):
        shutil.rmtree(mlruns)
        trained.clear()
        monkeypatch.setattr(RunFolder, "environments", lambda self, device=device: [{"device": device}])
        monkeypatch.setattr(evidence, "same_weights", lambda known, same=same: same)
        train_studies(monkeypatch, study)
        assert trained == [("near", 3)]


def test_a_folder_with_another_design_trains_no_evidence(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    job(seeds="3", precision="float32").train()
    with pytest.raises(BadInput, match="has another design"):
        train_studies(monkeypatch, Study(name="one", experiment="norms", precision="float32"))


def test_code_in_no_commit_trains_no_evidence(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="in no commit"):
        train_studies(monkeypatch, Study(name="one", experiment="norms"), dirty="true")
    assert not trained


def test_other_data_than_those_of_the_studies_train_no_evidence(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(BadInput, match="is of digits, and here is cifar10 "):
        other = dataclasses.replace(load("digits"), name="cifar10")
        patched.setattr(planner, "find_data", lambda which, may_fall_back: other)
        train_studies(patched, Study(name="one", experiment="norms", precision="float32"))
    assert not trained


@pytest.mark.parametrize("name", ["result.json", "artifacts/history.json", "seal.json"])
def test_a_run_with_a_damaged_file_is_planned_again(trained: Trained, mlruns: Path, name: str) -> None:
    whole = job(seeds="3")
    whole.train()
    broken = whole.wanted()[5]
    file = RunFolder(broken.config).path / name
    os.truncate(file, file.stat().st_size - 2)
    again = job(seeds="3", fresh=True)
    assert len(again.wanted()) == 12
    assert not any(row["done"] for row in again.preview()["specs"])
    shown = job(seeds="3").preview()["specs"]
    assert [row["done"] for row in shown] == [spec != broken for spec in again.wanted()]
    # To show what is done without training names it.
    with pytest.raises(BadInput, match=broken.config.key):
        again.publish()


def test_what_is_left_counts_a_run_of_two_studies_once(trained: Trained) -> None:
    jobs = [job(), job(seeds="5")]
    assert campaign.left(jobs) == "20 runs"
    job(seeds="1").train()
    assert campaign.left(jobs).startswith("16 runs, about 0.0")


@pytest.mark.parametrize("later", [{"seeds": "7"}, {"seeds": "3"}, {}])
def test_seeds_that_are_added_after_a_look_are_exploratory(trained: Trained, later: dict[str, str]) -> None:
    job(seeds="5").train()
    job(**later).train()
    (report,) = job(**later).publish()
    assert report.exploratory
    compared = [row.against_baseline for row in report.variants if row.against_baseline]
    assert {(each.verdict, each.p) for each in compared} == {("exploratory", None)}
    # What was declared keeps its verdicts, and another question has a design of its own.
    assert not job(seeds="5").publish()[0].exploratory
    other = job(changes={"weight_decay": "0.01"}, **later)
    other.train()
    assert not other.publish()[0].exploratory


def test_one_run_is_no_look(trained: Trained) -> None:
    job(seeds="1").train()
    job(seeds="5").train()
    assert not job(seeds="5").publish()[0].exploratory


def test_to_look_without_training_declares_nothing(trained: Trained) -> None:
    job(seeds="5").preview()
    job(seeds="5").publish()
    job(seeds="7").train()
    assert not job(seeds="7").publish()[0].exploratory


def test_a_design_is_read_whatever_it_is_about(mlruns: Path) -> None:
    about = {"experiment": "search confirmed", "study": "search fast quick", "trials": "trial 3, trial 7"}
    declare(about, [0, 1], [2])
    assert not contradicts(about, [0, 1], [2])
    assert contradicts(about, [0, 1, 2], [3])


@pytest.mark.parametrize("content", ["{", "{}", "[" * 100_000, '{"seeds": 3}'])
def test_a_design_that_cannot_be_read_is_named(mlruns: Path, content: str) -> None:
    names = ("experiment", "budget", "recipe", "split", "engine", "precision", "changes", "data")
    about = dict.fromkeys(names, "a b")
    declare(about, [0, 1], [2])
    assert not contradicts(about, [0, 1], [2])
    (file,) = (mlruns / "designs").iterdir()
    file.write_text(content)
    with pytest.raises(BadInput, match="holds no design"):
        contradicts(about, [0, 1], [2])


def test_a_read_only_mlruns_shows_what_is_done(
    trained: Trained, mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in mlruns.rglob("*") if file.is_file()}

    job(seeds="5").train()
    shutil.rmtree(mlruns / "designs")
    before = here()
    monkeypatch.setattr(paths, "is_read_only", lambda: True)
    what = job(seeds="5", recorder=MlflowRecorder())
    what.train()
    (shown,) = what.publish()
    (kept,) = what.publish(tmp_path / "to")
    assert shown.variants == kept.variants
    assert (shown.folder, kept.url) == ("", "")
    assert Path(kept.folder, "report.html").exists()
    assert here() == before


def test_what_an_effect_needs_by_the_runs_that_are_here(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    job(seeds="10").train()
    ten = job(seeds="10", variants=["far", "open"])
    (row,) = detect(ten, 0.5)["experiments"]
    # Three quarters of a percent at the first, and by seeds that grow with the square of the effect's inverse.
    assert row["sd"] == pytest.approx(0.003, rel=0.35)
    (half,) = detect(ten, 0.25)["experiments"]
    assert half["seeds_needed"] == pytest.approx(4 * row["seeds_needed"], rel=0.25)
    assert row["needed_pflop"] == pytest.approx(row["seeds_needed"] * 3 * 5000 * 8 * 400.3e-9, rel=0.8)
    assert row["power"] > half["power"]
    print_detect(detect(ten, 0.5))
    assert "to find an effect of 0.5 points" in capsys.readouterr().out
    # With other seeds than were declared here a run would be exploratory: the answer is that of the design.
    later = job(variants=["far", "open"])
    assert later.designs["norms"].exploratory
    (found,) = detect(later, 2)["experiments"]
    assert found["power"] > 0.99


def test_what_an_effect_needs_by_the_committed_runs(trained: Trained) -> None:
    asked = job(budget="full")
    with pytest.raises(BadInput, match="is not known here yet"):
        detect(asked, 0.5)
    asked.dataset = dataclasses.replace(asked.dataset, name="cifar10-jpeg75")
    (row,) = detect(asked, 0.5)["experiments"]
    assert (row["sd_of"], row["looks"]) == ("10 baseline runs in the evidence, jax, bfloat16", [4, 7, 10])
    assert row["sd"] == pytest.approx(0.0018, abs=0.0001)
    assert row["power"] > 0.8
    assert row["needed_hours"] is None


@pytest.mark.parametrize(("points", "words"), [(0.5, "is not known here yet"), (0, "size of an effect in points")])
def test_an_effect_that_cannot_be_planned_for(trained: Trained, points: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        detect(job(), points)
