"""The figures of README and docs that are made from the evidence: the numbers in each, and what draws it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from experiments.quoted import by_size, calibrated, rows_about
from experiments.quoted_rows import CLAIMS
from experiments.studies import FAST, PUBLISHED
from harness.analysis.stats import Compared
from harness.analysis.studies import Study, runs_of
from harness.reporting import calibration, evidence_figures, run_figures
from harness.reporting.quoted import Difference, Drawn
from harness.runs.evidence import EvidenceRun

AT_FULL_SIZE = (
    "50,000 images x 8 epochs of fast, five declared seeds, one NVIDIA H200, JAX, bfloat16, 2026-11-27; nothing is "
    "tuned for a variant"
)

AT_EACH_SIZE = (
    "8 epochs of fast, below 5,000 images in smaller batches; 2-core CPUs, TensorFlow, bfloat16, cifar10-jpeg75; an "
    "interval is of the two comparisons of a size and holds at every look"
)


def size_curve(evidence: Sequence[EvidenceRun]) -> Drawn | None:
    """The size curve, from two sizes on."""
    sizes = by_size(evidence)
    if not any(len(each) > 1 for each in sizes.values()):
        return None
    numbers = _as_text({variant: [(at, at.compared) for at in points] for variant, points in sizes.items()})
    return Drawn(numbers, lambda: evidence_figures.size_curve(sizes, AT_EACH_SIZE))


def answers(evidence: Sequence[EvidenceRun]) -> Drawn:
    """What speaks to each of the four claims at full size."""
    rows = {f"Claim: {claim}": rows_about(question, evidence) for question, claim in CLAIMS.items()}
    return Drawn(_as_text(rows), lambda: evidence_figures.answers(rows, AT_FULL_SIZE))


def a_a_test(evidence: Sequence[EvidenceRun]) -> Drawn | None:
    """The A/A test, as soon as all of its runs are there."""
    if document := calibrated(evidence):
        return Drawn("\n".join(calibration.sentences(document)), lambda: calibration.figure(document))
    return None


def learning_curve(study: Study, title: str, evidence: Sequence[EvidenceRun]) -> Drawn | None:
    """Accuracy by epoch of the first seed of a study, over the published curve."""
    runs = runs_of(study, evidence)
    if not runs:
        return None
    history = min(runs, key=lambda run: run.spec.config.seed).history
    numbers = "\n".join(f"{row['train_accuracy']:.4f} {row['test_accuracy']:.4f}" for row in history)
    return Drawn(numbers, lambda: run_figures.curves(history, "accuracy", title, fair=True))


def _as_text(rows: Mapping[str, Sequence[tuple[object, Difference | Compared]]]) -> str:
    """Return differences as text, rounded: another library version may change their last digits."""
    return "\n".join(f"{of}, {name}: {each}, n = {each.n}" for of, found in rows.items() for name, each in found)


#: By file in experiments/results.
FIGURES: dict[str, Callable[[Sequence[EvidenceRun]], Drawn | None]] = {
    "answers.png": answers,
    "quick/size-curve.png": size_curve,
    "quick/calibration.png": a_a_test,
    "baseline/fast-accuracy.png": partial(
        learning_curve, FAST, "fast, 8 epochs, one seed: JAX, bfloat16, one NVIDIA H200"
    ),
    "full/published.png": partial(
        learning_curve, PUBLISHED, "published, 200 epochs, one seed: JAX, bfloat16, one NVIDIA H200"
    ),
}
