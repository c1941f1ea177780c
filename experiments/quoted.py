"""The blocks of README and docs that are made from the evidence: `<!--evidence:NAME-->` to `<!--end-->`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from scipy import stats

from experiments.quoted_rows import (
    ANSWERS,
    CELLS,
    CLAIMS,
    CROSSED,
    DROPOUT_AT_QUICK,
    MEASURED,
    MUON_AT_QUICK,
    NORMALIZED,
    NORMALIZED_AT_QUICK,
    PLAIN_SGD_AT_QUICK,
    WITH_PLAIN_SGD,
    Rows,
)
from experiments.studies import AGAIN, CALIBRATION, DROPOUT, FAST, FULL, PUBLISHED, SIX_EPOCHS, STUDIES, WITHDRAWN
from harness.analysis.design import fixed
from harness.analysis.history import Inside, code_that_measured_last, mechanism
from harness.analysis.power import a_a_test
from harness.analysis.report import Report
from harness.analysis.stats import ALPHA, CHANCE, holm
from harness.analysis.studies import (
    Study,
    declared,
    has_been_looked_at,
    report_of,
    runs_of,
    train_images_of,
    variants_of,
)
from harness.analysis.target import against_target, wanted
from harness.common.errors import BadInput
from harness.experiment import BASELINE
from harness.published import ACCURACY_TARGET, final
from harness.reporting import calibration
from harness.reporting.evidence_figures import AtSize
from harness.reporting.quoted import Block, Difference, difference, mean_interval
from harness.reporting.summary import SCORES
from harness.runs.evidence import FOLDER, EvidenceRun, same_weights

RESULTS = FOLDER.parent
full = {study.experiment: study for study in AGAIN if study.recipe == "fast"}
first = {study.experiment: study for study in FULL}
named = {study.name: study for study in (*STUDIES, *AGAIN)}

#: Families of the A/A test that is quoted.
FAMILIES = 10_000


def table(header: str, rows: Sequence[str]) -> str:
    """A Markdown table of lines."""
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def rows_about(question: str, evidence: Sequence[EvidenceRun]) -> list[tuple[str, Difference]]:
    """Return the rows that speak to one claim, with what was measured at full size."""
    return [(name, difference(full[experiment], variant, evidence)) for name, experiment, variant in ANSWERS[question]]


def switched(study: Study, evidence: Sequence[EvidenceRun]) -> list[tuple[str, str, Difference]]:
    """Return the rows of CROSSED, with what was measured."""
    return [
        (what, where, difference(study, variant, evidence, against=other))
        for what, places in CROSSED.items()
        for where, variant, other in places
    ]


def claims(evidence: Sequence[EvidenceRun]) -> str:
    """The four claims of the notebook, and what was measured of each, in a line."""
    measured = {name: each for question in ANSWERS for name, each in rows_about(question, evidence)}
    measured |= {f"{what}, {where}": each for what, where, each in switched(full["factorial"], evidence)}
    sgd, vanishing = named["full-classic-factorial"], "no norm + no relu"
    measured["sigmoid, plain SGD"] = difference(sgd, vanishing, evidence)
    words: dict[str, object] = {**measured, "vanished": f"{_gradient_ratio(sgd, vanishing, evidence)[0]:.5f}"}
    rows = [f"| {CLAIMS[question]} | {text.format_map(words)} |" for question, text in MEASURED.items()]
    return table("| the claim, in our words | measured |", rows)


def answer(question: str, evidence: Sequence[EvidenceRun]) -> str:
    """What speaks to one claim of the notebook at full size, as in the reports, and the first campaign's."""
    rows = []
    asked = {experiment for _, experiment, _ in ANSWERS[question]}
    said = {experiment: verdicts(_report(full[experiment], evidence)) for experiment in asked}
    for name, experiment, variant in ANSWERS[question]:
        each = difference(full[experiment], variant, evidence)
        verdict, points = said[experiment][variant]
        before = difference(first[experiment], variant, evidence)
        rows.append(f"| {name} | {each if each.stuck else points} | {each.n} | {verdict} | {before}, n = {before.n} |")
    return table("| instead of the baseline | points | n | verdict | first campaign |", rows)


def _report(study: Study, evidence: Sequence[EvidenceRun]) -> Report:
    return report_of(study, runs_of(study, evidence))


def verdicts(report: Report) -> dict[str, tuple[str, str]]:
    """Return the verdict of each variant, and its points with the interval of the report; empty for the baseline."""
    said = {BASELINE: ("", "")}
    for row in report.rows("same recipe"):
        if compared := row.against_baseline:
            said[row.variant] = str(compared.verdict), str(compared)
    return said


def crossed(evidence: Sequence[EvidenceRun]) -> str:
    """What each of three choices does where the other two stand this way or that."""
    rows, known = [], ""
    both = (switched(campaign["factorial"], evidence) for campaign in (full, first))
    for (what, where, each), (_, _, before) in zip(*both, strict=True):
        rows.append(f"| {what if what != known else ''} | {where} | {each} | {each.n} | {before}, n = {before.n} |")
        known = what
    return table("| what is switched | where | points | n | first campaign |", rows)


def inside_cells(evidence: Sequence[EvidenceRun]) -> str:
    """Gradients and saturation of the cells with standardised inputs: medians over the seeds."""
    rows = []
    for optimizer, study in {"Muon": full["factorial"], "SGD": named["full-classic-factorial"]}.items():
        runs = runs_of(study, evidence)
        for name, variant in CELLS.items():
            last = pd.DataFrame([run.history[-1] for run in runs if run.spec.variant == variant]).median()
            shares = last.filter(like="saturated/")
            of_layers = (shares.get("saturated/dense"), shares.drop("saturated/dense", errors="ignore").max())
            cells = [f"{optimizer}, {name}", *(f"{ratio:.2g}" for ratio in _gradient_ratio(study, variant, evidence))]
            # Only sigmoid and tanh have shares.
            cells += [f"{share:.2f}" for share in of_layers] if len(shares) else ["", ""]
            rows.append(f"| {' | '.join(cells)} |")
    return table(
        "| | `gradient_ratio`, first epoch | last | `saturated`, dense layer | the convolution with most |", rows
    )


def _gradient_ratio(study: Study, variant: str, evidence: Sequence[EvidenceRun]) -> tuple[float, float]:
    """Return the median over the seeds after the first epoch and after the last; nan where no run went so far."""
    found = [run.history for run in runs_of(study, evidence) if run.spec.variant == variant and run.history]
    first, last = (pd.Series([history[i].get("gradient_ratio") for history in found], dtype=float) for i in (0, -1))
    return float(first.median()), float(last.median())


def every_seed(what: Mapping[str, Mapping[str, str]], evidence: Sequence[EvidenceRun]) -> str:
    """Some variants of some studies: the accuracy of every seed, the verdict at the last look, and the gradient.

    what: by study, what a row is called, and the variant.
    """
    rows = []
    for name, cells in what.items():
        study = named[name]
        runs = runs_of(study, evidence)
        said = verdicts(report_of(study, runs))
        for called, variant in cells.items():
            reached = [run.result.metrics.get("accuracy") for run in runs if run.spec.variant == variant]
            each = ", ".join("diverged" if value is None else f"{value:.3f}" for value in reached)
            verdict, points = said[variant]
            ratios = (f"{ratio:.2g}" if ratio == ratio else "" for ratio in _gradient_ratio(study, variant, evidence))
            if verdict in ("better", "worse", "equivalent"):
                verdict += f", {points}"
            rows.append(f"| {called} | {each} | {verdict} | {' | '.join(ratios)} |")
    return table(
        "| network | test accuracy, each seed | verdict, points | `gradient_ratio`, first epoch | last |", rows
    )


def by_size(evidence: Sequence[EvidenceRun]) -> dict[str, list[AtSize]]:
    """Return the comparisons of the size curve by variant, as the reports have them."""
    found: dict[str, list[AtSize]] = {}
    for study in STUDIES:
        runs = runs_of(study, evidence) if study.experiment == "size_curve" else []
        if runs and has_been_looked_at(study, runs):
            apart = runs[0].spec.config.recipe.epochs if study.changes else None
            for row in report_of(study, runs).rows("same recipe"):
                if compared := row.against_baseline:
                    found.setdefault(row.variant, []).append(AtSize(train_images_of(study), compared, apart))
    return found


def size_table(evidence: Sequence[EvidenceRun]) -> str:
    """The size curve: verdicts and points of its two comparisons, by the number of training images."""
    found = by_size(evidence)
    cells: dict[str, list[str]] = {}
    for each in sorted((each for of_variant in found.values() for each in of_variant), key=lambda each: each.images):
        cells.setdefault(str(each), []).append(f"{each.compared.verdict}, {each.compared}")
    rows = [f"| {trained_on} | {' | '.join(verdicts)} |" for trained_on, verdicts in cells.items()]
    return table(f"| training images | {' | '.join(found)} |", rows)


def drift(networks: Rows, evidence: Sequence[EvidenceRun]) -> str:
    """How far inputs drift and gradients change with and without a normalization, and the accuracy."""
    rows, measures = [], ("input_drift", "gradient_change")
    for called, name, variant in networks:
        runs = [run for run in runs_of(named[name], evidence) if run.spec.variant == variant]
        inside, _ = mechanism(runs, measures, code_that_measured_last(runs, measures))
        accuracy = mean_interval([run.result.metrics["accuracy"] for run in runs])
        rows.append(f"| {called} | {accuracy} | {' | '.join(_with_interval(inside[each]) for each in measures)} |")
    return table("| network | test accuracy | `input_drift` | `gradient_change` |", rows)


def _with_interval(measured: Inside | None) -> str:
    """Return a mean with its interval, as text."""
    if not (measured and measured.interval):
        raise BadInput("The evidence lacks a measure that the table of covariate shift needs.")
    return f"{measured.mean:.3f} [{measured.interval[0]:.3f}, {measured.interval[1]:.3f}]"


def blown_up(evidence: Sequence[EvidenceRun]) -> str:
    """What became of ReLU networks without normalization on pixels from 0 to 255, in both campaigns."""
    rows = []
    for study in (first["factorial"], full["factorial"]):
        for run in runs_of(study, evidence):
            if run.spec.variant == "no scaling + no norm":
                largest = max((row["train_loss"] for row in run.history), default=float("nan"))
                dead = f"{run.history[-1]['dead/dense']:.2f}" if run.result.status == "finished" else ""
                reached = run.result.metrics.get("accuracy")
                said = "diverged" if reached is None else f"{reached:.4f}"
                rows.append(f"| {run.spec.config.seed} | {largest:,.0f} | {dead} | {said} |")
    return table(
        "| seed | largest training loss of an epoch | dead units of the dense layer at the end | accuracy |", rows
    )


def predictions(evidence: Sequence[EvidenceRun]) -> str:
    """Every prediction beside what was measured at full size, scored by the report."""
    rows = []
    plain_sgd = ("full-classic-factorial", "full-classic-linear", "full-classic-tanh")
    for study in (*(full[name] for name in first), *(named[name] for name in plain_sgd)):
        report = _report(study, evidence)
        said = verdicts(report)
        for made, scored in zip(declared(study).predictions, report.predictions, strict=True):
            points, recipe = said[made.variant][1], ", plain SGD" * (study.recipe == "classic")
            rows.append(
                f"| {study.experiment}{recipe}: {made.variant} | {wanted(made)} | {points} | {SCORES[scored.score]} |"
            )
    return table("| change | predicted | measured, points | |", rows)


def targets(evidence: Sequence[EvidenceRun]) -> str:
    """The recipes beside the target, and beside the level at which the published curve ends."""
    cpu = json.loads((RESULTS / "baseline" / "fast.json").read_text())
    on_cpu = [run["accuracy"] for run in cpu["runs"]]
    rows = (
        ("`fast`, one H200, JAX, bfloat16", 8, accuracies(FAST, evidence)),
        ("`fast`, 2-core CPU, TensorFlow, float32", 8, on_cpu),
        ("[six epochs](docs/records.md), one H200", 6, accuracies(SIX_EPOCHS, evidence)),
        ("[dropout rising to 0.5, norm behind the activation](docs/records.md#dropout-at-16), one H200", 16,
         accuracies(DROPOUT, evidence)),
        ("[`published`](docs/recipes.md#how-published-was-fitted), our guess, one H200", 200,
         accuracies(PUBLISHED, evidence)),
    )  # fmt: skip
    lines = []
    for name, epochs, values in rows:
        several = len(values) > 1
        reached = mean_interval(values) if several else f"{values[0]:.4f}"
        # Two of its seeds were added after the others had been seen and published.
        said = "exploratory" if values is on_cpu else against(values) if several else ""
        lines.append(f"| {name} | {epochs} | {reached} | {len(values)} | {said} |")
    end = final()["test_accuracy"]
    return table(
        "| recipe | epochs | test accuracy, mean [95 % interval] | n | against 0.86 |",
        [*lines, f"| the notebook's own curve, its last 20 epochs | 200 | {end:.3f} | 1 | |"],
    )


def accuracies(study: Study, evidence: Sequence[EvidenceRun]) -> list[float]:
    """The accuracy of each seed of a study that has no variants."""
    return [each.result.metrics["accuracy"] for each in runs_of(study, evidence)]


def against(values: Sequence[float]) -> str:
    """The verdict of some accuracies against the published one."""
    return against_target(values, ACCURACY_TARGET, fixed(range(len(values)))).verdict


def on_pooled_spread(evidence: Sequence[EvidenceRun]) -> str:
    """The verdicts of a difference that tests without pooling do not give at 5 %: Welch's, and the paired t test.

    Both at the same looks as the verdict, and with Holm's correction over the same family.
    """
    rows, judged = [], 0
    for study in (*STUDIES, *AGAIN):
        runs = runs_of(study, evidence)
        if study.retuned or not has_been_looked_at(study, runs):
            continue
        found = {row.variant: row for row in report_of(study, runs).rows("same recipe")}
        compared = {variant: each for variant, row in found.items() if (each := row.against_baseline)}
        tests: dict[str, list[float | None]] = {}
        for variant, each in compared.items():
            if each.failed:  # judged by its own spread as it is
                tests[variant] = [each.p, each.p]
                continue
            own, base = (found[name].each[: each.n] for name in (variant, BASELINE))
            both = stats.ttest_ind(own, base, equal_var=False), stats.ttest_rel(own, base)
            tests[variant] = [study.design.p(test.statistic, test.df, each.n) for test in both]
        welch, paired = (holm({name: p[i] for name, p in tests.items()}) for i in (0, 1))
        for variant, each in compared.items():
            if each.failed or each.verdict not in ("better", "worse"):
                continue
            judged += 1
            if max(welch[variant] or 0, paired[variant] or 0) >= ALPHA:
                said = f"{each.verdict}, {each} | {each.n} | {welch[variant]:.3f} | {paired[variant]:.3f}"
                rows.append(f"| {study.name}: {variant} | {said} |")
    header = "| study: variant | verdict, points | n | Welch, Holm | paired t, Holm |"
    told = f"{len(rows)} of {judged} verdicts of a difference, without those of networks that are stuck:"
    return f"{told}\n\n{table(header, rows)}"


def full_table(studies: Sequence[Study], evidence: Sequence[EvidenceRun]) -> str:
    """Every variant of some studies, best first."""
    rows = {}
    for study in studies:
        for variant in sorted(set(variants_of(study).values()) - {BASELINE}):
            found = difference(study, variant, evidence)
            changes = ", ".join(f"{name}={value}" for name, value in declared(study).variants[variant].items())
            accuracy = "" if found.stuck else f"{found.accuracy:.4f}"
            rows[changes] = (found.accuracy, f"| `{changes}` | {accuracy} | {found} | {found.n} |")
    ordered = sorted(rows.values(), reverse=True)
    return table("| change | accuracy | difference from the baseline | n |", [row for _, row in ordered])


def withdrawn(evidence: Sequence[EvidenceRun]) -> str:
    """Every run of the withdrawn studies, one variant a row."""
    rows: dict[str, str] = {}
    for study in WITHDRAWN:
        found = runs_of(study, evidence)
        for variant in variants_of(study).values():
            accuracies = [each.result.metrics.get("accuracy") for each in found if each.spec.variant == variant]
            rows[variant] = ", ".join("diverged" if each is None else f"{each:.4f}" for each in accuracies)
    return table("| variant | test accuracy, seeds 0 to 3 |", [f"| {name} | {each} |" for name, each in rows.items()])


def classic_rates(evidence: Sequence[EvidenceRun]) -> str:
    """The validation accuracies of `classic` at `quick`, by learning rate: of the runs that chose it."""
    found: dict[float, list[float]] = {}
    for run in evidence:
        of = run.spec.experiment, run.spec.recipe, run.spec.budget, run.config.split
        if of == (BASELINE, "classic", "quick", "tune"):
            found.setdefault(run.config.recipe.learning_rate, []).append(run.result.metrics["accuracy"])
    rows = [
        f"| {rate:g} | {statistics.mean(values):.4f} | {', '.join(f'{value:.4f}' for value in sorted(values))} |"
        for rate, values in sorted(found.items())
    ]
    return table("| rate | mean | each seed |", rows)


def calibrated(evidence: Sequence[EvidenceRun]) -> dict[str, Any]:
    """The A/A test of the runs that were declared for it; empty while some are missing."""
    found = [each.result.metrics.get("accuracy", CHANCE) for each in runs_of(CALIBRATION, evidence)]
    return a_a_test(tuple(found), FAMILIES) if len(found) == len(CALIBRATION.seeds) else {}


def calibration_told(evidence: Sequence[EvidenceRun]) -> str:
    """What the A/A test found: sentences, and the power curve as a table."""
    document = calibrated(evidence)
    if not document:
        raise BadInput(f"The evidence lacks some of the {len(CALIBRATION.seeds)} runs of the A/A test.")
    return calibration.told(document)


def twice(evidence: Sequence[EvidenceRun]) -> str:
    """How often two devices gave the same weights, bit for bit."""
    found = {" | ".join(sorted(devices)): counts for devices, counts in same_weights(evidence).items()}
    rows = [f"| {devices} | {same} of {both} |" for devices, (same, both) in sorted(found.items())]
    return table("| one device | another | runs with equal weights |", rows)


BLOCKS: dict[str, Block] = {
    "calibration": calibration_told,
    "claims": claims,
    "crossed": crossed,
    "inside": inside_cells,
    "blown-up": blown_up,
    "plain-sgd": partial(every_seed, WITH_PLAIN_SGD),
    "plain-sgd-at-quick": partial(every_seed, PLAIN_SGD_AT_QUICK),
    "muon-at-quick": partial(every_seed, MUON_AT_QUICK),
    "dropout-at-quick": partial(every_seed, DROPOUT_AT_QUICK),
    "size-curve": size_table,
    "drift": partial(drift, NORMALIZED),
    "drift-at-quick": partial(drift, NORMALIZED_AT_QUICK),
    "predictions": predictions,
    "on-pooled-spread": on_pooled_spread,
    "targets": targets,
    "full-table": partial(full_table, FULL),
    "second-table": partial(full_table, [full[name] for name in first]),
    "withdrawn": withdrawn,
    "twice": twice,
    "classic-rates": classic_rates,
    **{f"answer-{question}": partial(answer, question) for question in ANSWERS},
}
