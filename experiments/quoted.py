"""The blocks of README and docs that are made from the evidence: `<!--evidence:NAME-->` to `<!--end-->`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from experiments.studies import FAST, FULL, SIX_EPOCHS, STUDIES, WITHDRAWN
from harness.analysis.design import fixed
from harness.analysis.studies import Study, declared, report_of, runs_of, variants_of
from harness.analysis.target import against_target, score_of, wanted
from harness.common import rounded
from harness.experiment import BASELINE
from harness.published import ACCURACY_TARGET, final
from harness.reporting.quoted import Block, Difference, difference, mean_interval
from harness.reporting.summary import SCORES
from harness.runs.evidence import FOLDER, EvidenceRun

RESULTS = FOLDER.parent
full = {study.experiment: study for study in FULL}
named = {study.name: study for study in STUDIES}

AT_FULL_SIZE = (
    "50,000 images x 8 epochs of fast, one NVIDIA H200, JAX, bfloat16, 2026-11-27; nothing is tuned for a variant"
)

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
    "activation": "With batch norm ReLU is better: {ReLU instead of sigmoid, batch norm}. Without, it is worse at this "
    "size: {ReLU instead of sigmoid, no normalization}; with plain SGD sigmoid is then {sigmoid, plain SGD}, its "
    "gradient at the first convolution {vanished} of that at the last.",
    "norm": "With ReLU it gives {batch norm instead of none, ReLU}, with sigmoid "
    "{batch norm instead of none, sigmoid}. Group norm, which needs no batch, in its place: {group norm}. Covariate "
    "shift: open.",
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

#: What was compared at `quick`, by study: what a row is called, and the variant.
WITH_MUON = {"fast-factorial": CELLS | RAW_CELLS}
WITH_PLAIN_SGD = {
    "classic-factorial": CELLS | RAW_CELLS,
    "classic-tanh": {"tanh, batch norm": "tanh"},
    "classic-linear": {
        "no activation, batch norm": "linear",
        "ReLU, batch norm, average pooling": "average pooling",
        "no activation, batch norm, average pooling": "linear, average pooling",
    },
}


def table(header: str, rows: Sequence[str]) -> str:
    """A Markdown table of lines."""
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def found(question: str, evidence: Sequence[EvidenceRun]) -> list[tuple[str, Difference]]:
    """Return the rows that speak to one claim, with what was measured at full size."""
    return [(name, difference(full[experiment], variant, evidence)) for name, experiment, variant in ANSWERS[question]]


def switched(evidence: Sequence[EvidenceRun]) -> list[tuple[str, str, Difference]]:
    """Return the rows of CROSSED, with what was measured at full size."""
    return [
        (what, where, difference(full["factorial"], variant, evidence, against=other))
        for what, places in CROSSED.items()
        for where, variant, other in places
    ]


def claims(evidence: Sequence[EvidenceRun]) -> str:
    """The four claims of the notebook, and what was measured of each, in a line."""
    measured = {name: each for question in ANSWERS for name, each in found(question, evidence)}
    measured |= {f"{what}, {where}": each for what, where, each in switched(evidence)}
    sgd, vanishing = named["classic-factorial"], "no norm + no relu"
    measured["sigmoid, plain SGD"] = difference(sgd, vanishing, evidence)
    words: dict[str, object] = {**measured, "vanished": f"{_gradient_ratio(sgd, vanishing, evidence)[0]:.4f}"}
    rows = [f"| {CLAIMS[question]} | {text.format_map(words)} |" for question, text in MEASURED.items()]
    return table("| the notebook says | measured |", rows)


def answer(question: str, evidence: Sequence[EvidenceRun]) -> str:
    """What speaks to one claim of the notebook at full size, in points of test accuracy."""
    rows = [f"| {name} | {each} | {each.n} |" for name, each in found(question, evidence)]
    return table("| instead of the baseline | points | n |", rows)


def crossed(evidence: Sequence[EvidenceRun]) -> str:
    """What each of three choices does where the other two stand this way or that."""
    rows, before = [], ""
    for what, where, each in switched(evidence):
        rows.append(f"| {what if what != before else ''} | {where} | {each} | {each.n} |")
        before = what
    return table("| what is switched | where | points | n |", rows)


def inside(evidence: Sequence[EvidenceRun]) -> str:
    """Gradients and saturation of the cells with standardised inputs: medians over the seeds."""
    rows, runs = [], runs_of(full["factorial"], evidence)
    for name, variant in CELLS.items():
        first, last = (
            pd.DataFrame([run.history[i] for run in runs if run.spec.variant == variant]).median() for i in (0, -1)
        )
        shares = last.filter(like="saturated/")
        of_layers = (shares.get("saturated/dense"), shares.drop("saturated/dense", errors="ignore").max())
        cells = [name, *(f"{value:.2f}" for value in (first.gradient_ratio, last.gradient_ratio))]
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


def at_quick(what: Mapping[str, Mapping[str, str]], evidence: Sequence[EvidenceRun]) -> str:
    """Some variants of some studies: the accuracy of every seed, the verdict at the last look, and the gradient.

    what: by study, what a row is called, and the variant.
    """
    rows = []
    for name, cells in what.items():
        study = named[name]
        runs = runs_of(study, evidence)
        verdicts = {row.variant: row.against_baseline for row in report_of(study, runs).rows("same recipe")}
        for called, variant in cells.items():
            reached = [run.result.metrics.get("accuracy") for run in runs if run.spec.variant == variant]
            each = ", ".join("diverged" if value is None else f"{value:.3f}" for value in reached)
            compared = verdicts[variant]
            verdict = str(compared.verdict) if compared else ""
            if compared and verdict in ("better", "worse", "equivalent"):
                verdict += f", {rounded.points(compared.mean, compared.interval)}"
            ratios = (f"{ratio:.2g}" if ratio == ratio else "" for ratio in _gradient_ratio(study, variant, evidence))
            rows.append(f"| {called} | {each} | {verdict} | {' | '.join(ratios)} |")
    return table(
        "| network | test accuracy, each seed | verdict, points | `gradient_ratio`, first epoch | last |", rows
    )


def drift(evidence: Sequence[EvidenceRun]) -> str:
    """Kinds of normalization with Muon at `quick`: how far inputs drift and gradients change, and what each costs."""
    study, rows = named["fast-bn"], []
    report = report_of(study, runs_of(study, evidence))
    for row in sorted(report.rows("same recipe"), key=lambda row: row.variant != BASELINE):
        compared = row.against_baseline
        cost = f"{rounded.points(compared.mean, compared.interval)}, {compared.verdict}" if compared else ""
        measured = (row.mechanism[name] for name in ("input_drift", "gradient_change"))
        numbers = [
            f"{each.mean:.3f} [{each.interval[0]:.3f}, {each.interval[1]:.3f}]" if each and each.interval else ""
            for each in measured
        ]
        name = "batch norm" if row.variant == BASELINE else row.variant
        rows.append(f"| {name} | {cost} | {' | '.join(numbers)} |")
    return table("| normalization | points | `input_drift` | `gradient_change` |", rows)


def blown_up(evidence: Sequence[EvidenceRun]) -> str:
    """What became of ReLU networks without normalization on pixels from 0 to 255."""
    rows = []
    for run in runs_of(full["factorial"], evidence):
        if run.spec.variant == "no scaling + no norm":
            largest = max(row["train_loss"] for row in run.history)
            dead = run.history[-1]["dead/dense"]
            rows.append(
                f"| {run.spec.config.seed} | {largest:,.0f} | {dead:.2f} | {run.result.metrics['accuracy']:.4f} |"
            )
    return table(
        "| seed | largest training loss of an epoch | dead units of the dense layer at the end | accuracy |", rows
    )


def predictions(evidence: Sequence[EvidenceRun]) -> str:
    """Every prediction beside what was measured at full size, scored by the interval of each alone."""
    rows = []
    for study in FULL:
        for prediction in declared(study).predictions:
            each = difference(study, prediction.variant, evidence)
            score = SCORES[score_of(prediction, each.interval)]
            rows.append(
                f"| {study.experiment}: {prediction.variant} | {wanted(prediction)} | {each} | {each.n} | {score} |"
            )
    return table("| change | predicted | measured, points | n | |", rows)


def targets(evidence: Sequence[EvidenceRun]) -> str:
    """The recipes beside the target, and beside the level at which the published curve ends."""
    cpu = json.loads((RESULTS / "baseline" / "fast.json").read_text())
    on_cpu = [run["accuracy"] for run in cpu["runs"]]
    rows = (
        ("`fast`, one H200, JAX, bfloat16", 8, accuracies(FAST, evidence)),
        ("`fast`, 2-core CPU, TensorFlow, float32, exploratory (a look after 3)", 8, on_cpu),
        ("[six epochs](docs/records.md), one H200", 6, accuracies(SIX_EPOCHS, evidence)),
    )
    end = final()["test_accuracy"]
    lines = [
        f"| {name} | {epochs} | {mean_interval(values)} | {len(values)} "
        f"| {against(values, ACCURACY_TARGET)} | {against(values, end)} |"
        for name, epochs, values in rows
    ]
    return table(
        "| recipe | epochs | test accuracy, mean [95 % interval] | n | against 0.86 | against 0.867 |",
        [*lines, "| published, from its figure | 200 | 0.867 | 1 | | |"],
    )


def accuracies(study: Study, evidence: Sequence[EvidenceRun]) -> list[float]:
    """The accuracy of each seed of a study that has no variants."""
    return [each.result.metrics["accuracy"] for each in runs_of(study, evidence)]


def against(values: Sequence[float], target: float) -> str:
    """The verdict of some accuracies against a number."""
    return against_target(values, target, fixed(range(len(values)))).verdict


def full_table(evidence: Sequence[EvidenceRun]) -> str:
    """Every variant at full size, best first."""
    rows = {}
    for study in FULL:
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
    """The validation accuracies of `classic` at `quick`, by learning rate."""
    found: dict[float, list[float]] = {}
    for run in evidence:
        if (run.spec.recipe, run.spec.budget, run.config.split) == ("classic", "quick", "tune"):
            found.setdefault(run.config.recipe.learning_rate, []).append(run.result.metrics["accuracy"])
    rows = [
        f"| {rate:g} | {statistics.mean(values):.4f} | {', '.join(f'{value:.4f}' for value in sorted(values))} |"
        for rate, values in sorted(found.items())
    ]
    return table("| rate | mean | each seed |", rows)


BLOCKS: dict[str, Block] = {
    "claims": claims,
    "crossed": crossed,
    "inside": inside,
    "blown-up": blown_up,
    "plain-sgd": partial(at_quick, WITH_PLAIN_SGD),
    "drift": drift,
    "muon-at-quick": partial(at_quick, WITH_MUON),
    "predictions": predictions,
    "targets": targets,
    "full-table": full_table,
    "withdrawn": withdrawn,
    "classic-rates": classic_rates,
    **{f"answer-{question}": partial(answer, question) for question in ANSWERS},
}
