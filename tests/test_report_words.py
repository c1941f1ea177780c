"""A report's words hold for a reader who has nothing but its page: what was compared, how, and what it does not say."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from report_builders import Lab

from harness import experiment
from harness.analysis.design import Design
from harness.analysis.images import ImagesRow, OverImages
from harness.analysis.make_report import make_report
from harness.analysis.report import Report
from harness.analysis.target import score
from harness.config import Network
from harness.data.sklearn_digits import digits
from harness.experiment import Experiment, Prediction
from harness.plan import images_of
from harness.reporting import forest, sentences, summary
from harness.reporting.page import charts
from harness.reporting.page.glossary import WORDS
from harness.reporting.page.render import render
from harness.reporting.page.section import section
from harness.reporting.tables import NO_CAUSE, tables
from harness.runs.folder import RunFolder
from harness.runs.spec import RunResult

NORMS = Experiment(
    variants={
        "no norm": {"normalization": "none"},
        "layer norm": {"normalization": "layer"},
        "group norm": {"normalization": "group"},
    },
    predictions=(Prediction("no norm", "worse", by=0.2),),
    mechanism=("gradient_ratio",),
)
LEVELS = {"baseline": 0.7, "no norm": 0.66, "layer norm": 0.7, "group norm": 0.7}


def stuck(results: Sequence[RunResult], variant: str, seeds: Sequence[int]) -> list[RunResult]:
    """The results with these runs at chance."""
    return [
        dataclasses.replace(
            each, result=dataclasses.replace(each.result, metrics=each.result.metrics | {"accuracy": 0.1})
        )
        if each.spec.variant == variant and each.spec.config.seed in seeds
        else each
        for each in results
    ]


@pytest.fixture(scope="module")
def results() -> list[RunResult]:
    """Four seeds: no norm is worse, and one run of group norm is stuck."""
    return stuck(Lab(NORMS, LEVELS).under_one_recipe(4), "group norm", [0])


@pytest.fixture(scope="module")
def report(results: list[RunResult]) -> Report:
    return make_report(NORMS, results)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())


def test_the_baseline_is_described(report: Report) -> None:
    said = sentences.baseline(report)
    assert "with batch norm, ReLU, max-pooling and standardised pixels." in said
    other = Network(normalization_place="after", activation="linear", pooling="average", input_scaling="raw")
    said = sentences.baseline(dataclasses.replace(report, network=other))
    assert "batch norm behind each activation, no activation, average pooling and pixels from 0 to 255." in said
    assert sentences.baseline(dataclasses.replace(report, network=None)) == ""


def test_every_setting_of_a_network_has_words() -> None:
    for name, words in sentences.SETTINGS.items():
        assert set(words) == set(Network.__annotations__[name].__args__)


def test_the_answer_has_the_order_of_the_chart_and_names_what_is_stuck(report: Report) -> None:
    answer = summary.answer(report)
    assert re.search(
        r"no norm \(-\d\.\d\d\) is worse than the baseline; .*layer norm \(.\d\.\d\d\) .*undecided", answer
    )
    assert re.search(r"group norm \(-\d+\.\d\d, 1 of 4 stuck\) .*undecided \(no difference is shown yet\)", answer)
    (lines,) = forest.comparison_lines(report).values()
    assert [line.name for line in lines] == list(NORMS.variants)
    assert "1 of 4 stuck" in lines[2].comment
    assert any("group norm, same recipe: 1 of 4 runs is stuck" in said for said in sentences.reservations(report))
    assert any(said.startswith("group norm: more seeds.") and "1 of 4 stuck" in said
               for said in summary.change_of_mind(report))  # fmt: skip


def test_the_caveat_says_how_little_was_trained_and_why_a_larger_difference_can_be_undecided(report: Report) -> None:
    small, why = summary.caveats(report)
    assert small == (
        "This rests on 5,000 of the 50,000 training images, 8 epochs, one learning rate for all variants and 4 seeds "
        "only."
    )
    assert "that of group norm is larger and undecided" in why
    assert "holds zero" in why
    # An accuracy below 0 is not possible, whatever an interval holds.
    assert "possible" not in " ".join([*summary.change_of_mind(report), summary.differences(report)])


def test_a_page_has_no_verdict_on_causes_and_says_so(report: Report, results: list[RunResult]) -> None:
    assert NO_CAUSE in section(report, results).caveats
    without = make_report(dataclasses.replace(NORMS, mechanism=()), results)
    assert NO_CAUSE not in section(without, results).caveats


def test_tables_say_how_p_is_made_and_which_images_judge(report: Report) -> None:
    over = OverImages(4, 100, -0.1, (-0.2, -0.05))
    none = dataclasses.replace(over, interval=(-0.2, 0.05))
    images = (ImagesRow("same recipe", "group norm", 0.016, over, (none, over)),)
    shown = dataclasses.replace(report, images=images, class_names=("cat", "dog"), split="tune")
    comparison, *_, last = tables(shown)
    said = " ".join(comparison.notes)
    for words in ("paired by seed", "pooled", "over the comparisons of one table", "A paired t test", "here 4."):
        assert words in said
    assert "of the seeds that both have" in said
    assert "also where it ends within 0.5 points" in said
    assert last.title == "validation images, same recipe"
    assert last.rows == [["group norm", "0.016*", "-10.00\n[-20.00, -5.00]", "dog: -10.00 [-20.00, -5.00]"]]
    assert any("stuck run" in note for note in last.notes)


def test_a_setting_that_was_changed_is_told_once(report: Report) -> None:
    assert "8 epochs" in sentences.context(report)
    changed = dataclasses.replace(report, changes="epochs=8")
    assert sentences.context(changed).count("epochs") == 1


@pytest.mark.parametrize(
    ("prediction", "why"),
    [
        (Prediction("no norm", "worse", by=0.04), "its interval also allows less than 4 points"),
        (Prediction("layer norm", "equivalent"), "its interval also allows more than 0.5 points"),
        (Prediction("layer norm", "better"), "its interval also allows none"),
        (Prediction("no norm", "worse", by=0.2), None),
    ],
)
def test_a_prediction_that_is_open_says_why(report: Report, prediction: Prediction, why: str | None) -> None:
    row = next(row for row in report.variants if row.variant == prediction.variant)
    assert row.against_baseline
    outcome, because = score(prediction, row.against_baseline)
    assert (outcome == "undecided") == bool(why)
    assert because.endswith(why) if why else "also allows" not in because


def test_only_the_words_that_stand_on_a_page_are_explained(report: Report, results: list[RunResult]) -> None:
    page = render([section(report, results)])
    explained = page.partition("What the words mean")[2]
    assert "<dt>Holm</dt>" in explained
    assert "<dt>bfloat16</dt>" not in explained
    half = render([section(dataclasses.replace(report, precision="bfloat16"), results)])
    assert "<dt>bfloat16</dt>" in half.partition("What the words mean")[2]
    assert len({word for word, _, _ in WORDS}) == len(WORDS)


def test_a_page_sends_nobody_to_a_file_that_he_does_not_have(report: Report, results: list[RunResult]) -> None:
    for name in experiment.names():
        assert not re.search(r"\w\.md\b", experiment.docstring(name)), name
    assert not re.search(r"\w\.md\b", text_of(render([section(report, results)])))


def test_numbers_keep_their_per_cent_sign_and_commands_break_between_words(
    report: Report, results: list[RunResult]
) -> None:
    page = render([section(report, results)])
    assert not re.search(r"\d %", page)
    assert "<span>harness</span> <span>compare</span>" in page
    name = section(dataclasses.replace(report, budget="quick:500"), results).csv_name
    assert re.fullmatch(r"[\w.-]+\.csv", name)


def test_pictures_are_of_a_run_that_is_not_stuck(mlruns: Path) -> None:
    dataset = digits()
    lab = Lab(Experiment(variants={"no norm": {"normalization": "none"}}), {"no norm": 0.5}, data="digits")
    made = []
    for each in lab.under_one_recipe(2):
        sized = {"data_fingerprint": dataset.fingerprint, "train_images": 1000, "eval_images": 50}
        config = dataclasses.replace(each.spec.config, **sized)
        folder = RunFolder(config)
        labels = images_of(config, dataset).eval_labels
        folder.artifacts.mkdir(parents=True)
        np.savez_compressed(
            folder.artifacts / "probabilities.npz", probabilities=np.eye(10, dtype=np.float16)[(labels + 1) % 10]
        )
        made.append(dataclasses.replace(each, spec=dataclasses.replace(each.spec, config=config), folder=folder))
    for bad, headings in (
        ([0], ["baseline, seed 0", "no norm, seed 1, the first that is not stuck and kept its answers"]),
        ([0, 1], ["baseline, seed 0", "no norm: every run is stuck, and sure of nothing"]),
    ):
        results = stuck(made, "no norm", bad)
        shown = section(make_report(lab.experiment, results), results, dataset).pictures
        assert [each.heading for each in shown] == headings
        assert [bool(each.mistakes) for each in shown] == [True, bad == [0]]


def test_axes_end_at_labels_and_fit_the_data() -> None:
    chart = charts.lines([charts.Series("a", [(1, 27.0), (2, 36.0)])], x_label="x", y_label="y")
    assert [tick.label for tick in (chart.y_ticks[0], chart.y_ticks[-1])] == ["26", "36"]
    gradients = charts.lines([charts.Series("a", [(1, 0.4), (2, 4.0)])], x_label="x", y_label="y", log_y=True)
    assert [tick.label for tick in gradients.y_ticks] == ["0.2", "0.5", "1", "2", "5"]
    flat = charts.lines([charts.Series("a", [(1, 1.0), (2, 1.0)])], x_label="x", y_label="y", log_y=True)
    assert len(flat.y_ticks) > 1


def test_the_margin_is_described_where_it_can_be_seen() -> None:
    narrow, wide = (forest.Line("a", mean, (mean - 0.01, mean + 0.01), "worse", "") for mean in (-0.02, -0.5))
    assert "Shaded" in charts.forest([narrow], "", "").key
    assert "Shaded" not in charts.forest([wide], "", "").key


def test_bars_are_called_what_they_are(report: Report) -> None:
    assert forest.bars(report) == "intervals at Holm's level, 95 % or more"
    few = make_report(NORMS, Lab(NORMS, LEVELS).under_one_recipe(2), Design((0, 1, 2, 3), (4,)))
    assert forest.bars(few) == "95 % intervals"
