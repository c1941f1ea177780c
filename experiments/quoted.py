"""The blocks of README and docs that are made from the evidence: `<!--evidence:NAME-->` to `<!--end-->`."""

import json
import statistics
from collections.abc import Sequence
from functools import partial

from experiments.studies import FAST, FULL, SIX_EPOCHS, WITHDRAWN
from harness.analysis.design import fixed
from harness.analysis.studies import Study, declared, runs_of, variants_of
from harness.analysis.target import against_target
from harness.experiment import BASELINE
from harness.published import ACCURACY_TARGET
from harness.reporting.quoted import Block, difference, mean_interval
from harness.runs.evidence import FOLDER, EvidenceRun

RESULTS = FOLDER.parent
full = {study.experiment: study for study in FULL}

#: The rows of README's table: what a row is called, and the experiment and the variant it is from.
CHANGES = (
    ("pixels 0–255", "ablate_scaling", "raw 0-255"),
    ("no batch norm", "ablate_bn", "no norm"),
    ("... and pixels 0–255", "factorial", "no scaling + no norm"),
    ("group norm", "ablate_bn", "group norm"),
    ("GELU", "ablate_activation", "gelu"),
    ("sigmoid", "ablate_activation", "sigmoid"),
    ("linear, max-pooling", "ablate_activation", "linear"),
    ("linear, average pooling", "ablate_linear", "linear, average pooling"),
)

#: The tables of docs/answers.md: what the notebook claims, and the rows that speak to it, as in CHANGES.
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


def table(header: str, rows: Sequence[str]) -> str:
    """A Markdown table of lines."""
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def changes(evidence: Sequence[EvidenceRun]) -> str:
    """What one change does at full size: two changes a row, in points of test accuracy."""
    cells = [f"{name} | {difference(full[experiment], variant, evidence)}" for name, experiment, variant in CHANGES]
    half = len(cells) // 2
    rows = [f"| {one} | {other} |" for one, other in zip(cells[:half], cells[half:], strict=True)]
    return table("| change | points | change | points |", rows)


def answer(question: str, evidence: Sequence[EvidenceRun]) -> str:
    """What speaks to one claim of the notebook at full size, in points of test accuracy."""
    found = [(name, difference(full[experiment], variant, evidence)) for name, experiment, variant in ANSWERS[question]]
    rows = [f"| {name} | {each} | {each.n} |" for name, each in found]
    return table("| instead of the baseline | points | n |", rows)


def targets(evidence: Sequence[EvidenceRun]) -> str:
    """The recipes beside the target."""
    cpu = json.loads((RESULTS / "baseline" / "fast.json").read_text())
    rows = [
        ("`fast`, one H200, JAX, bfloat16", 8, *against(accuracies(FAST, evidence)), ""),
        ("`fast`, 2-core CPU, TensorFlow, float32", 8, *against([run["accuracy"] for run in cpu["runs"]]),
         ", exploratory: a look after 3"),
        ("[six epochs](docs/records.md), one H200", 6, *against(accuracies(SIX_EPOCHS, evidence)), ""),
    ]  # fmt: skip
    lines = [
        f"| {name} | {epochs} | {interval} | {n} | {verdict}{note} |"
        for name, epochs, interval, n, verdict, note in rows
    ]
    return table(
        "| recipe | epochs | test accuracy, mean [95 % interval] | n | against 0.86 |",
        [*lines, "| published, from its figure | 200 | 0.867 | 1 | |"],
    )


def accuracies(study: Study, evidence: Sequence[EvidenceRun]) -> list[float]:
    """The accuracy of each seed of a study that has no variants."""
    return [each.result.metrics["accuracy"] for each in runs_of(study, evidence)]


def against(values: Sequence[float]) -> tuple[str, int, str]:
    """A mean with its interval, the number of seeds, and the verdict against the target."""
    found = against_target(values, ACCURACY_TARGET, fixed(range(len(values))))
    return mean_interval(values), found.n, found.verdict


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
    "changes": changes,
    "targets": targets,
    "full-table": full_table,
    "withdrawn": withdrawn,
    "classic-rates": classic_rates,
    **{f"answer-{question}": partial(answer, question) for question in ANSWERS},
}
