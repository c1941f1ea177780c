"""The blocks of README and docs that are made from the evidence: `<!--evidence:NAME-->` to `<!--end-->`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from experiments.studies import AGAIN, CALIBRATION, DROPOUT, FAST, FULL, PUBLISHED, SIX_EPOCHS, STUDIES, WITHDRAWN
from harness.analysis.design import fixed
from harness.analysis.history import Inside, code_that_measured_last, mechanism
from harness.analysis.power import a_a_test
from harness.analysis.report import Report
from harness.analysis.stats import CHANCE
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

AT_FULL_SIZE = (
    "50,000 images x 8 epochs of fast, five declared seeds, one NVIDIA H200, JAX, bfloat16, 2026-11-27; nothing is "
    "tuned for a variant"
)

AT_EACH_SIZE = (
    "8 epochs of fast, below 5,000 images in smaller batches; 2-core CPUs, TensorFlow, bfloat16, cifar10-jpeg75; an "
    "interval holds for the two comparisons of a size and at every look"
)

#: Families of the A/A test that is quoted.
FAMILIES = 10_000

#: What the notebook claims, by the name of its table in docs/answers.md.
CLAIMS = {
    "scaling": "Inputs must be scaled",
    "linear": "Activations must be non-linear",
    "activation": "ReLU is better than sigmoid, because its gradient survives",
    "norm": "Batch norm helps, as it cures covariate shift",
}

#: What was measured of each claim; a name in braces is a row of ANSWERS or CROSSED.
MEASURED = {
    "scaling": "With batch norm pixels 0–255 change less than half a point: {pixels 0–255}. Without it, at the one "
    "rate tried: {pixels 0–255, no batch norm}.",
    "linear": "Something must be: a linear network gives {no activation, average pooling}. Three max-poolings alone "
    "make that {no activation}.",
    "activation": "With batch norm ReLU is better: {ReLU instead of sigmoid, batch norm}. Without, it is worse: {ReLU "
    "instead of sigmoid, no normalization}; but with plain SGD sigmoid is then {sigmoid, plain SGD}, its gradient at "
    "the first convolution {vanished} of that at the last.",
    "norm": "With ReLU it gives {batch norm instead of none, ReLU}, with sigmoid "
    "{batch norm instead of none, sigmoid}, but with plain SGD sigmoid is stuck without it. Group norm in its place: "
    "{group norm}. Covariate shift: open.",
}

#: The rows that speak to a claim: what a row is called, and the experiment and the variant it is from.
ANSWERS = {
    "scaling": (
        ("pixels 0–255", "ablate_scaling", "raw 0-255"),
        ("pixels 0–1", "ablate_scaling", "unit 0-1"),
        ("pixels 0–255, no batch norm", "factorial", "no scaling + no norm"),
        ("pixels 0–255, no batch norm, sigmoid", "factorial", "no scaling + no norm + no relu"),
    ),
    "linear": (
        ("no activation", "ablate_linear", "linear"),
        ("no activation, average pooling", "ablate_linear", "linear, average pooling"),
        ("ReLU, average pooling", "ablate_linear", "average pooling"),
    ),
    "activation": (
        ("sigmoid", "ablate_activation", "sigmoid"),
        ("tanh", "ablate_activation", "tanh"),
        ("GELU", "ablate_activation", "gelu"),
        ("SiLU", "ablate_activation", "silu"),
        ("sigmoid, no batch norm", "factorial", "no norm + no relu"),
    ),
    "norm": (
        ("no batch norm", "ablate_bn", "no norm"),
        ("layer norm", "ablate_bn", "layer norm"),
        ("group norm", "ablate_bn", "group norm"),
        ("batch norm behind the activation", "ablate_order", "norm after"),
    ),
}


#: The factorial experiment, one factor at a time where the others stand as they are said: what is switched, where, and
#: the two variants.
CROSSED = {
    "batch norm instead of none": (
        ("ReLU", BASELINE, "no norm"),
        ("sigmoid", "no relu", "no norm + no relu"),
    ),
    "ReLU instead of sigmoid": (
        ("batch norm", BASELINE, "no relu"),
        ("no normalization", "no norm", "no norm + no relu"),
    ),
    "pixels 0–255 instead of standardised": (
        ("batch norm, ReLU", "no scaling", BASELINE),
        ("batch norm, sigmoid", "no scaling + no relu", "no relu"),
        ("no normalization, ReLU", "no scaling + no norm", "no norm"),
        ("no normalization, sigmoid", "no scaling + no norm + no relu", "no norm + no relu"),
    ),
}


#: The cells of the factorial experiment, by what they are.
CELLS = {
    "ReLU, batch norm": BASELINE,
    "ReLU, no normalization": "no norm",
    "sigmoid, batch norm": "no relu",
    "sigmoid, no normalization": "no norm + no relu",
}
RAW_CELLS = {
    "pixels 0–255, ReLU, batch norm": "no scaling",
    "pixels 0–255, ReLU, no normalization": "no scaling + no norm",
    "pixels 0–255, sigmoid, batch norm": "no scaling + no relu",
    "pixels 0–255, sigmoid, no normalization": "no scaling + no norm + no relu",
}

_TANH = {"tanh, batch norm": "tanh"}
_LINEAR = {
    "no activation, batch norm": "linear",
    "ReLU, batch norm, average pooling": "average pooling",
    "no activation, batch norm, average pooling": "linear, average pooling",
}

#: Tables of every seed, by study: what a row is called, and the variant.
WITH_PLAIN_SGD = {
    "full-classic-factorial": CELLS | RAW_CELLS,
    "full-classic-tanh": _TANH,
    "full-classic-linear": _LINEAR,
}
PLAIN_SGD_AT_QUICK = {"classic-factorial": CELLS | RAW_CELLS, "classic-tanh": _TANH, "classic-linear": _LINEAR}
MUON_AT_QUICK = {
    "fast-factorial": CELLS | RAW_CELLS,
    "fast-activation": _TANH | {"GELU, batch norm": "gelu", "SiLU, batch norm": "silu"},
    "fast-linear": _LINEAR,
}
DROPOUT_AT_QUICK = {
    "fast-dropout": {
        "none": BASELINE,
        **{f"{rate}{ramped}": f"{rate}{ramped}" for rate in (0.1, 0.25, 0.5, 0.75) for ramped in ("", " ramped")},
        "0.5 behind the blocks alone": "0.5 in blocks",
        "0.5 behind the dense layer alone": "0.5 in dense",
    }
}


def table(header: str, rows: Sequence[str]) -> str:
    """A Markdown table of lines."""
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def found(question: str, evidence: Sequence[EvidenceRun]) -> list[tuple[str, Difference]]:
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
    measured = {name: each for question in ANSWERS for name, each in found(question, evidence)}
    measured |= {f"{what}, {where}": each for what, where, each in switched(full["factorial"], evidence)}
    sgd, vanishing = named["full-classic-factorial"], "no norm + no relu"
    measured["sigmoid, plain SGD"] = difference(sgd, vanishing, evidence)
    words: dict[str, object] = {**measured, "vanished": f"{_gradient_ratio(sgd, vanishing, evidence)[0]:.5f}"}
    rows = [f"| {CLAIMS[question]} | {text.format_map(words)} |" for question, text in MEASURED.items()]
    return table("| the notebook says | measured |", rows)


def answer(question: str, evidence: Sequence[EvidenceRun]) -> str:
    """What speaks to one claim of the notebook at full size, in points of test accuracy, and the first campaign's."""
    rows = []
    asked = {experiment for _, experiment, _ in ANSWERS[question]}
    said = {experiment: verdicts(_report(full[experiment], evidence)) for experiment in asked}
    for name, experiment, variant in ANSWERS[question]:
        each = difference(full[experiment], variant, evidence)
        verdict = said[experiment][variant][0]
        before = difference(first[experiment], variant, evidence)
        rows.append(f"| {name} | {each} | {each.n} | {verdict} | {before}, n = {before.n} |")
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


def inside(evidence: Sequence[EvidenceRun]) -> str:
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


#: Rows of a table: what each is called, the study, and the variant.
Rows = tuple[tuple[str, str, str], ...]

#: Networks by how they are normalized.
NORMALIZED: Rows = (
    ("Muon, ReLU, batch norm", "again-ablate_bn", BASELINE),
    ("Muon, ReLU, group norm", "again-ablate_bn", "group norm"),
    ("Muon, ReLU, layer norm", "again-ablate_bn", "layer norm"),
    ("Muon, ReLU, none", "again-ablate_bn", "no norm"),
    ("Muon, sigmoid, batch norm", "again-factorial", "no relu"),
    ("Muon, sigmoid, none", "again-factorial", "no norm + no relu"),
    ("SGD, ReLU, batch norm", "full-classic-factorial", BASELINE),
    ("SGD, ReLU, none", "full-classic-factorial", "no norm"),
    ("SGD, sigmoid, batch norm", "full-classic-factorial", "no relu"),
    ("SGD, sigmoid, none (stuck)", "full-classic-factorial", "no norm + no relu"),
)
NORMALIZED_AT_QUICK: Rows = (
    ("Muon, ReLU, batch norm", "fast-bn", BASELINE),
    ("Muon, ReLU, group norm", "fast-bn", "group norm"),
    ("Muon, ReLU, layer norm", "fast-bn", "layer norm"),
    ("Muon, ReLU, none", "fast-bn", "no norm"),
    ("Muon, sigmoid, batch norm", "fast-factorial", "no relu"),
    ("Muon, sigmoid, none", "fast-factorial", "no norm + no relu"),
)


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
    for study in (full[name] for name in first):
        report = _report(study, evidence)
        said = verdicts(report)
        for made, scored in zip(declared(study).predictions, report.predictions, strict=True):
            points = said[made.variant][1]
            rows.append(f"| {study.experiment}: {made.variant} | {wanted(made)} | {points} | {SCORES[scored.score]} |")
    return table("| change | predicted | measured, points | |", rows)


def targets(evidence: Sequence[EvidenceRun]) -> str:
    """The recipes beside the target, and beside the level at which the published curve ends."""
    cpu = json.loads((RESULTS / "baseline" / "fast.json").read_text())
    on_cpu = [run["accuracy"] for run in cpu["runs"]]
    rows = (
        ("`fast`, one H200, JAX, bfloat16", 8, accuracies(FAST, evidence)),
        ("`fast`, 2-core CPU, TensorFlow, float32, exploratory: two seeds after a look", 8, on_cpu),
        ("[six epochs](docs/records.md), one H200", 6, accuracies(SIX_EPOCHS, evidence)),
        ("`fast` with the notebook's dropout 0.5, one H200", 16, accuracies(DROPOUT, evidence)),
        ("[`published`](docs/recipes.md#how-published-was-fitted), our guess, one H200", 200,
         accuracies(PUBLISHED, evidence)),
    )  # fmt: skip
    end = final()["test_accuracy"]
    lines = []
    for name, epochs, values in rows:
        several = len(values) > 1
        reached = mean_interval(values) if several else f"{values[0]:.4f}"
        said = [against(values, target) if several else "" for target in (ACCURACY_TARGET, end)]
        lines.append(f"| {name} | {epochs} | {reached} | {len(values)} | {' | '.join(said)} |")
    return table(
        "| recipe | epochs | test accuracy, mean [95 % interval] | n | against 0.86 | against 0.867 |",
        [*lines, "| the notebook's, from its figure | 200 | 0.867 | 1 | | |"],
    )


def accuracies(study: Study, evidence: Sequence[EvidenceRun]) -> list[float]:
    """The accuracy of each seed of a study that has no variants."""
    return [each.result.metrics["accuracy"] for each in runs_of(study, evidence)]


def against(values: Sequence[float], target: float) -> str:
    """The verdict of some accuracies against a number."""
    return against_target(values, target, fixed(range(len(values)))).verdict


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
    "inside": inside,
    "blown-up": blown_up,
    "plain-sgd": partial(every_seed, WITH_PLAIN_SGD),
    "plain-sgd-at-quick": partial(every_seed, PLAIN_SGD_AT_QUICK),
    "muon-at-quick": partial(every_seed, MUON_AT_QUICK),
    "dropout-at-quick": partial(every_seed, DROPOUT_AT_QUICK),
    "size-curve": size_table,
    "drift": partial(drift, NORMALIZED),
    "drift-at-quick": partial(drift, NORMALIZED_AT_QUICK),
    "predictions": predictions,
    "targets": targets,
    "full-table": partial(full_table, FULL),
    "second-table": partial(full_table, [full[name] for name in first]),
    "withdrawn": withdrawn,
    "twice": twice,
    "classic-rates": classic_rates,
    **{f"answer-{question}": partial(answer, question) for question in ANSWERS},
}
