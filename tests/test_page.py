"""report.html: one file that holds all, says what the report says, and asks nothing of any other place."""

import base64
import dataclasses
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import finished
from PIL import Image
from report_builders import Lab

from harness import experiment
from harness.analysis.make_report import make_report
from harness.analysis.report import Report, RunLink
from harness.commands.compare import compare, one_page
from harness.commands.run import Job
from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.data.sklearn_digits import digits
from harness.experiment import Experiment, Prediction, factorial
from harness.plan import images_of
from harness.reporting import summary
from harness.reporting.page import charts
from harness.reporting.page.mistakes import SHOWN, mistakes
from harness.reporting.page.render import render, ticked
from harness.reporting.page.section import section
from harness.reporting.publish import publish_all, write_report
from harness.reporting.tables import flat, tables
from harness.run_options import RunOptions
from harness.runs.folder import RunFolder
from harness.runs.spec import RunResult
from harness.tracking.recorder import MlflowRecorder

BROWSER = shutil.which("chromium")

LEVELS = {"baseline": 0.72, "no norm": 0.60, "layer norm": 0.69, "group norm": 0.72}

Reported = tuple[Report, list[RunResult]]


def reported(name: str, seeds: int, **rest: str) -> Reported:
    """An experiment of the project with made-up results, tuned too; every run has its page in MLflow."""
    declared = experiment.load(name)
    lab = Lab(declared, LEVELS, **rest)
    results = lab.under_one_recipe(seeds) + lab.tuned({"no norm": 1 / 2}) + lab.retuned(seeds, {"no norm": 1 / 2})
    results = [dataclasses.replace(each, spec=dataclasses.replace(each.spec, experiment=name)) for each in results]
    links = {each.spec.config.key: RunLink("ab", "http://127.0.0.1:5000/#/x") for each in results}
    return make_report(declared, results, links=links), results


@pytest.fixture(scope="module")
def whole() -> Reported:
    return reported("ablate_bn", 10)


class Read(HTMLParser):
    """What a page holds: its text, its tags, and the values of the attributes that name a place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.places = "", [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.places += [
            value or "" for name, value in attributes if name in ("src", "href", "srcset", "action", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_asks_nothing_of_any_other_place(whole: Reported) -> None:
    page = render([section(*whole)])
    read = Read(page)
    assert all(place.startswith(("data:", "#")) for place in read.places)
    assert not re.search(r"https?://|@import|url\(", page)
    assert not {"link", "iframe", "object", "embed", "base"} & set(read.tags)
    # Whatever might be added: a browser refuses to load it.
    assert "default-src 'none'" in page
    assert len(page) < 2_000_000


@pytest.mark.skipif(not BROWSER, reason="no Chromium here (apt-get install chromium)")
def test_a_browser_shows_it_and_the_content_policy_refuses_nothing_of_it(whole: Reported, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    # The script runs, or the button would not change; and the style counts, or the page would be wider than a phone.
    probe = "<script>document.title = getComputedStyle(document.querySelector('.forest')).display</script>"
    file.write_text(render([section(*whole)]) + probe)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--enable-logging=stderr --dump-dom"
    shown = subprocess.run(
        [str(BROWSER), *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"file://{file}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "<title>grid</title>" in shown.stdout
    assert "Content Security Policy" not in shown.stderr


def test_the_page_says_what_the_report_says(whole: Reported) -> None:
    report, results = whole
    text = " ".join(Read(render([section(report, results)])).text.split())
    assert report.question in text
    assert 'The notebook: "our target predictions will keep shifting' in text
    assert "Prediction, written before the run: without normalization accuracy falls by at least 5 points" in text
    assert summary.answer(report) in text
    assert "no norm (-11" in summary.answer(report)
    assert "came true: no norm, same recipe: predicted worse by at least 5 points" in text
    assert "harness run ablate_bn --budget quick" in text
    for table in tables(report):
        assert all(" ".join(cell.split()) in text for row in table.rows for cell in row)
    for heading in ("What would change our mind", "learning rate", "Inside the network", "Accuracy by epoch"):
        assert heading in text


def test_its_csv_is_the_table_of_the_report(whole: Reported) -> None:
    report, results = whole
    (place,) = [place for place in Read(render([section(report, results)])).places if place.startswith("data:text/csv")]
    read = pd.read_csv(io.BytesIO(base64.b64decode(place.partition(",")[2])))
    pd.testing.assert_frame_equal(read, flat(report), check_dtype=False)


def test_names_are_text_and_no_markup(whole: Reported) -> None:
    report, results = whole
    evil = "<script>alert('&')</script>"
    row = dataclasses.replace(report.variants[1], variant=evil)
    page = render([section(dataclasses.replace(report, variants=(report.variants[0], row), question=evil), results)])
    assert evil not in page
    assert Read(page).tags.count("script") == 1
    assert ticked("a <b> `c & d`") == "a &lt;b&gt; <code>c &amp; d</code>"


def test_a_page_that_has_no_place_is_told_how_to_get_one(
    whole: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "report"):
        with pytest.raises(BadInput, match="file is a file: give a folder"):
            write_report(*whole, folder)
    monkeypatch.setattr(paths, "is_read_only", lambda: True)
    with pytest.raises(HarnessError, match="is read-only: name another folder for the page with --to"):
        publish_all([whole], None, digits())


def test_several_reports_are_one_page_with_a_list_of_answers(whole: Reported, tmp_path: Path) -> None:
    other = reported("ablate_scaling", 3)
    page = publish_all([whole, other], tmp_path, digits())
    assert page == tmp_path / "report.html"
    read = Read(page.read_text())
    for report, _ in (whole, other):
        assert read.text.count(summary.answer(report)) == 2
    anchors = [place[1:] for place in read.places if place.startswith("#")]
    assert all(f'id="{anchor}"' in page.read_text() for anchor in anchors)


def test_an_experiment_of_which_only_the_baseline_was_trained_is_not_on_the_page_of_all(mlruns: Path) -> None:
    options = {"budget": "smoke", "data": "digits", "retune": False}
    job = Job(RunOptions(experiments=["baseline"], **options), MlflowRecorder())
    for spec in job.specs["baseline"]:
        folder, history = RunFolder(spec.config), [{"epoch": 1, "timestamp": 0, "test_accuracy": 0.5, "pflop": 0.1}]
        with folder.locked():
            folder.finish(finished(), history)
    both = RunOptions(experiments=["ablate_bn", "baseline"], **options)
    text = Read(one_page(both, MlflowRecorder(), None).read_text()).text
    assert experiment.load("baseline").question in text
    assert experiment.load("ablate_bn").question not in text
    with pytest.raises(BadInput, match="Only runs of the baseline are stored"):
        one_page(RunOptions(experiments=["ablate_bn"], **options), MlflowRecorder(), None)
    with pytest.raises(BadInput, match="Nothing of ablate_bn is stored at the budget smoke"):
        compare(RunOptions(experiments=["ablate_bn"], **options), MlflowRecorder(), None)


def test_few_seeds_give_no_verdict_but_what_is_so_far_and_the_command_for_one() -> None:
    report, _ = reported("ablate_bn", 1)
    said = "With 1 seed there is no verdict yet: it takes 2 of every variant. So far: no norm: -1"
    assert summary.answer(report).startswith(said)
    assert summary.differences(report) == ""
    assert "points, interval -" in summary.differences(reported("ablate_bn", 3)[0])
    words, command = summary.next_step(report)
    assert words == "For a verdict:"
    assert command.startswith("harness run ablate_bn --budget quick")
    assert "--seeds 2" in command


def test_a_report_of_one_variant_and_one_of_a_factorial_design_have_a_page_too() -> None:
    lab = Lab(Experiment(question="What?"), {"baseline": 0.8})
    page = Read(render([section(make_report(lab.experiment, lab.under_one_recipe(2)), lab.under_one_recipe(2))]))
    assert "baseline reaches 0.8" in page.text
    design = factorial(
        {"norm": ("normalization", "none"), "relu": ("activation", "sigmoid")},
        predictions=(Prediction("no norm", "worse"),),
    )
    lab = Lab(design, {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.2})
    results = lab.under_one_recipe(7)
    found = section(make_report(design, results), results)
    (effects,) = found.effects
    marks = {row.name: row.mark for row in effects.rows}
    assert marks["norm"] == "better"
    assert marks["norm x relu"] == "interaction"


def test_wrong_predictions_are_shown_the_surest_first(mlruns: Path) -> None:
    dataset = digits()
    (result,) = Lab(Experiment(), {"baseline": 0.8}, data="digits").under_one_recipe(1)
    config = dataclasses.replace(
        result.spec.config, data_fingerprint=dataset.fingerprint, train_images=1000, eval_images=50
    )
    folder = RunFolder(config)
    result = dataclasses.replace(result, spec=dataclasses.replace(result.spec, config=config), folder=folder)
    assert mistakes(result, dataset) == []  # it kept none
    images = images_of(config, dataset)
    labels = images.eval_labels
    probabilities = np.eye(10, dtype=np.float16)[labels]
    sure = dict.fromkeys(range(0, 2 * SHOWN + 2, 2), 0.0) | {4: 0.9, 10: 0.95}
    for index, probability in sure.items():
        probabilities[index] = 0.05
        probabilities[index, (labels[index] + 1) % 10] = max(probability, 0.5)
    folder.artifacts.mkdir(parents=True)
    np.savez_compressed(folder.artifacts / "probabilities.npz", probabilities=probabilities)
    found = mistakes(result, dataset)
    assert len(found) == SHOWN
    assert [round(each.probability, 2) for each in found[:3]] == [0.95, 0.9, 0.5]
    assert found[0].true == dataset.class_names[labels[10]]
    assert found[0].predicted == dataset.class_names[(labels[10] + 1) % 10]
    picture = Image.open(io.BytesIO(base64.b64decode(found[0].picture.partition(",")[2])))
    assert np.array_equal(np.asarray(picture), images.eval_images[10])
    assert mistakes(result, dataclasses.replace(dataset, fingerprint="another")) == []


def test_axes_have_labels_that_are_easy_to_read() -> None:
    series = [charts.Series("a", [(1, 0.02), (2, 3e-4)]), charts.Series("b", [(1, 0.5), (2, 0.5)])]
    chart = charts.lines(series, x_label="x", y_label="y", log_y=True)
    assert [tick.label for tick in chart.y_ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert [tick.label for tick in chart.x_ticks] == ["1", "2"]
    narrow = charts.lines([charts.Series("a", [(1, 0.11), (2, 0.6)])], x_label="x", y_label="y", log_y=True)
    assert [tick.label for tick in narrow.y_ticks] == ["0.1", "0.2", "0.5", "1"]
    alone = charts.lines([charts.Series("a", [(3, 0.5)])], x_label="x", y_label="y")
    assert all(np.isfinite(place[:2]).all() for place in alone.lines[0].dots)
