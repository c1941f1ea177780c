"""What figures show: axes, labels and colours that do not mislead."""

import dataclasses
from pathlib import Path

import optuna
import pytest
from conftest import small_config
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from report_builders import Lab

from harness import published
from harness.analysis.make_report import make_report
from harness.experiment import Experiment, factorial
from harness.reporting import curves, forest, interactions, publish, run_figures, search_figures
from harness.runs.records import Result

NORMS = Experiment(variants={"no norm": {"normalization": "none"}, "gelu": {"activation": "gelu"}})


def texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in (*axes.texts, axes.title, axes.xaxis.label)]


def test_a_forest_plot_is_linear_holds_all_of_its_marks_and_says_which_way_is_better() -> None:
    lab = Lab(NORMS, {"baseline": 0.9, "no norm": 0.1, "gelu": 0.9})
    figure = forest.comparisons(make_report(NORMS, lab.under_one_recipe(7)))
    assert figure
    axes = figure.axes[0]
    assert axes.get_xscale() == "linear"
    low, high = axes.get_xlim()
    ends = [x for line in axes.lines[1:] for x in line.get_xdata()]
    assert low < min(ends) - 1
    assert high > max(ends)
    assert "← worse | better →" in texts(figure)
    assert any("baseline 90." in text or "baseline 89." in text for text in texts(figure))


@pytest.mark.parametrize(("split", "says"), [("final", "test accuracy minus"), ("tune", "validation accuracy minus")])
def test_a_forest_plot_says_which_images_the_runs_are_judged_by(split: str, says: str) -> None:
    report = make_report(NORMS, Lab(NORMS, {"no norm": 0.5}).under_one_recipe(3))
    figure = forest.comparisons(dataclasses.replace(report, split=split))
    assert figure
    assert any(text.startswith(says) for text in texts(figure))


def test_there_is_no_retuned_panel_where_every_rate_is_the_recipe_s_own() -> None:
    lab = Lab(NORMS, {})
    for best, phases in (({}, ["same recipe"]), ({"gelu": 3.0}, ["same recipe", "retuned"])):
        report = make_report(NORMS, lab.under_one_recipe(2) + lab.retuned(2, best))
        assert list(forest.comparison_lines(report)) == phases
        assert report.rows("retuned")


def test_an_interaction_is_neither_worse_nor_better() -> None:
    design = factorial({"norm": ("normalization", "none"), "relu": ("activation", "sigmoid")})
    lab = Lab(design, {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.2})
    (lines,) = forest.effect_lines(make_report(design, lab.under_one_recipe(9))).values()
    assert {line.name: line.mark for line in lines} == {
        "norm": "better",
        "relu": "better",
        "norm x relu": "interaction",
    }
    assert len({colour for colour, _ in forest.MARKS.values()}) == len(forest.MARKS)


def test_an_interaction_is_four_means_of_the_runs_that_its_effect_is_of(tmp_path: Path) -> None:
    factors = {"norm": ("normalization", "none"), "relu": ("activation", "sigmoid"), "shift": ("shift", 0)}
    design = factorial(factors)
    lab = Lab(design, {"baseline": 0.7, "no norm": 0.6, "no relu": 0.68, "no norm + no relu": 0.2, "no shift": 0.5})
    results = lab.under_one_recipe(4)
    report = make_report(design, results)
    (panels,) = interactions.panels(report, results).values()
    assert [(panel.along, panel.by) for panel in panels] == [("norm", "relu"), ("norm", "shift"), ("relu", "shift")]
    found = {each.effect: each.mean for each in report.effects}
    for panel in panels:
        (low_off, high_off), (low_on, high_on) = panel.off, panel.on
        interaction = ((high_on - low_on) - (high_off - low_off)) / 2
        assert interaction == pytest.approx(found[f"{panel.along} x {panel.by}"])
        assert ((high_on - low_on) + (high_off - low_off)) / 2 == pytest.approx(found[panel.along])
    figure = interactions.interactions(report, results)
    assert figure
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["relu off", "relu on"]
    assert "(interactions.png)" in publish.write_report(report, results, tmp_path).read_text()
    assert "norm x relu: " in (tmp_path / publish.PAGE).read_text()
    assert interactions.interactions(make_report(NORMS, (one := Lab(NORMS, {}).under_one_recipe(2))), one) is None


@pytest.mark.parametrize("count", [1, 8, 9, 10, 24])
def test_no_colour_is_there_twice(count: int) -> None:
    found = [to_rgb(colour) for colour in curves.distinct_colours(count)]
    assert len(found) == count
    apart = [max(abs(a - b) for a, b in zip(one, two, strict=True)) for i, one in enumerate(found) for two in found[:i]]
    assert min(apart, default=1) > 0.1


def test_ten_variants_have_ten_colours_in_the_tuning() -> None:
    many = Experiment(variants={f"{number}": {"shift": number} for number in range(3, 13)})
    figure = curves.tuning(make_report(many, Lab(many, {}).tuned({})))
    assert figure
    named = [line for line in figure.axes[0].lines if not line.get_label().startswith(("_", "the recipe"))]
    assert len({line.get_color() for line in named}) == len(named) == 11


def test_gradients_are_labelled_as_numbers() -> None:
    lab = Lab(NORMS, {"no norm": 0.1})
    results = lab.under_one_recipe(2)
    figure = curves.gradient_flow(make_report(NORMS, results), results)
    assert figure
    figure.canvas.draw()
    (bar,) = [axes for axes in figure.axes if "grey: zero" in axes.get_ylabel()]
    labels = [label.get_text() for label in bar.get_yticklabels()]
    assert {"0.01", "0.0001"} <= set(labels)


def test_only_a_run_on_all_of_cifar10_is_drawn_over_the_published_curve(tmp_path: Path) -> None:
    whole = dataclasses.replace(small_config(), data="cifar10-jpeg75", train_images=50_000)
    assert published.comparable_run(whole)
    for changes in ({"train_images": 5_000}, {"split": "tune", "train_images": 45_000}, {"data": "digits"}):
        assert not published.comparable_run(dataclasses.replace(whole, **changes))
    history = [
        {"epoch": 1, "train_accuracy": 0.5, "test_accuracy": 0.5, "train_loss": 1.0, "test_loss": 1.0},
        {"epoch": 2, "train_accuracy": 0.6, "test_accuracy": 0.6, "train_loss": 0.9, "test_loss": 0.9},
    ]
    for fair, lines in ((True, 5), (False, 2)):
        (axes,) = run_figures.curves(history, "accuracy", "", fair=fair).axes
        assert len(axes.lines) == lines


def test_the_confusion_matrix_is_in_per_cent_of_each_class() -> None:
    result = Result("finished", "", {}, "", {"cat": 0.25, "dog": 0.0}, [[300, 100], [1, 999]])
    (axes,) = run_figures.confusion(result, "a run").axes
    assert [text.get_text() for text in axes.texts] == ["75", "25", "<1", "100"]
    assert "1,400 images" in axes.get_title()


def test_the_labels_of_a_search_s_panels_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate (muon)", 0.04, 0.15, log=True)
        return rate + trial.suggest_float("weight_decay", 3e-4, 3e-2, log=True) + trial.suggest_float("dropout 2", 0, 1)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=20)
    figures: list[Figure] = []
    monkeypatch.setattr(search_figures.pyplot, "close", lambda which: figures.append(search_figures.pyplot.gcf()))
    search_figures.draw_search(study, {"learning_rate (muon)": 1.0, "weight_decay": 0.5, "dropout 2": 0.2}, tmp_path)
    assert len(figures) == len(search_figures.FIGURES)
    for figure in figures:
        figure.canvas.draw()
        assert all(axes.get_ylabel() != "Objective Value" for axes in figure.axes)
        shown = [
            label.get_window_extent()
            for axes in figure.axes
            for axis in (axes.xaxis, axes.yaxis)
            for label in axis.get_ticklabels()
            if label.get_visible()
            and label.get_text()
            and label.get_rotation() == 0
            and axis.get_visible()
            and axes.bbox.expanded(1.1, 1.1).overlaps(label.get_window_extent())
        ]
        assert not [1 for i, one in enumerate(shown) for two in shown[:i] if one.overlaps(two)]
    search_figures.matplotlib.pyplot.close("all")


def test_a_picture_of_a_search_that_is_no_longer_drawn_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_figures, "FIGURES", {"importances": "plot_param_importances"})
    (tmp_path / "importances.png").touch()
    assert search_figures.draw_search(optuna.create_study(), {}, tmp_path) == []
    assert not (tmp_path / "importances.png").exists()
