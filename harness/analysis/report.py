"""The answer to an experiment's question: its specs, compared, and its predictions, scored."""

import dataclasses
import itertools
import math
import statistics as plain
from collections.abc import Iterable, Sequence, Set
from typing import Any

from harness import analysis as statistics
from harness import published as notebook
from harness import tracking
from harness.experiment import BASELINE, Experiment, Prediction, factorial_name
from harness.runs.folder import History
from harness.runs.spec import Phase, RunResult

#: Test accuracies whose first epoch is told.
LEVELS = (0.5, 0.7, 0.8, 0.86)

#: The accuracy of a run that diverged: it is counted as one that guesses, never dropped.
CHANCE = 0.1

#: A run that ends below this has learned nothing to speak of.
STUCK = 0.15


def answer(experiment: Experiment, outcomes: Sequence[RunResult], trained: Set[str] = frozenset()) -> dict[str, Any]:
    """The document of an experiment: what `--json` prints, and what tables and figures are made from.

    trained: the keys of the runs that were trained just now.
    """
    # Tuning is judged by other images: it names the answer's only while there is nothing else.
    first = next((outcome for outcome in outcomes if outcome.spec.phase != "tuning"), outcomes[0]).spec
    config = first.config
    # The targets are claims about test accuracy after the whole recipe: nothing smaller is held against them.
    fair = notebook.comparable(config.data) and config.split == "final" and first.budget == "full"
    groups = grouped(outcomes)
    results = {group: members for group, members in groups.items() if group[0] != "tuning"}
    phases = list(dict.fromkeys(phase for phase, _ in results))
    rows = [_variant(members, fair, experiment) for members in results.values()]
    for phase in phases:
        _compare(experiment, phase, results, rows)
    return {
        "experiment": first.experiment,
        "question": experiment.question,
        "recipe": first.recipe,
        "budget": first.budget,
        "changes": first.changes,
        "split": config.split,
        "data": config.data,
        "data_fingerprint": config.data_fingerprint,
        "train_images": config.train_images,
        "eval_images": config.eval_images,
        "precision": config.precision,
        "engine": config.engine,
        "source": config.source,
        "variants": rows,
        "tuning": _tuning(groups),
        "effects": [effect for phase in phases for effect in _effects(experiment, phase, results)],
        "predictions": [
            {"phase": phase, **dataclasses.asdict(prediction), **score(prediction, row)}
            for phase in phases
            for prediction in experiment.predictions
            if (row := _row(rows, phase, prediction.variant)) and row["against_baseline"]
        ],
        "runs": [_run(outcome, fair, trained) for outcome in outcomes],
    }


def grouped(outcomes: Iterable[RunResult]) -> dict[tuple[Phase, str], list[RunResult]]:
    """The outcomes by phase and variant."""
    groups: dict[tuple[Phase, str], list[RunResult]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.spec.phase, outcome.spec.variant), []).append(outcome)
    return groups


def accuracies(outcomes: Sequence[RunResult]) -> dict[int, float]:
    """The accuracy of each seed's run."""
    return {outcome.spec.config.seed: _accuracy(outcome) for outcome in outcomes}


def best_factors(outcomes: Sequence[RunResult]) -> dict[str, float]:
    """The factor on the learning rate with the best validation accuracy, for every variant that was tuned."""
    return {variant: _best(tried).spec.factor for (_, variant), tried in grouped(outcomes).items()}


def score(prediction: Prediction, row: dict[str, Any]) -> dict[str, str]:
    """Whether a prediction was *supported*, *refuted* or neither, and because of which numbers.

    Supported: the verdict is the predicted one, and the mean difference at least the predicted size. Refuted: the
    95 % interval of the difference holds no value that was predicted, or the verdict contradicts the predicted one.
    """
    compared = row["against_baseline"]
    low, high = compared["interval"] or (-math.inf, math.inf)
    verdict, mean, by = compared["verdict"], compared["mean"], prediction.by
    numbers = f"{mean * 100:+.2f} points"
    if compared["interval"]:
        numbers += f" [{low * 100:+.2f}, {high * 100:+.2f}], n = {compared['n']}, verdict {verdict}"
    wanted = prediction.direction + (f" by at least {by * 100:g} point{'s' * (by != 0.01)}" if by else "")
    if prediction.direction == "equivalent":
        supported, refuted = verdict == "equivalent", verdict in ("better", "worse")
    else:
        # The difference in the predicted direction, and the largest value of it that the data allow.
        toward, most = (-mean, -low) if prediction.direction == "worse" else (mean, high)
        supported = verdict == prediction.direction and toward >= by
        refuted = compared["enough"] and (most < by or verdict in {"better", "worse"} - {prediction.direction})
    outcome = "supported" if supported else "refuted" if refuted else "inconclusive"
    return {"score": outcome, "because": f"predicted {wanted}; measured {numbers}"}


def _variant(outcomes: list[RunResult], fair: bool, experiment: Experiment) -> dict[str, Any]:
    """One variant over its seeds, against the targets where that is fair."""
    spec = outcomes[0].spec
    recipe = spec.config.recipe
    finished = [outcome for outcome in outcomes if outcome.result.status == "finished"]
    measured: dict[str, Any] = {"accuracy": None, "cross_entropy": None}
    if finished:
        losses = [outcome.result.metrics["cross_entropy"] for outcome in finished]
        target, limit = notebook.ACCURACY_TARGET, notebook.CROSS_ENTROPY_TARGET
        measured["accuracy"] = vars(statistics.against_target(list(accuracies(finished).values()), target))
        measured["cross_entropy"] = vars(statistics.against_target(losses, limit, lower_is_better=True))
    for each in filter(None, measured.values()):
        if not fair:
            each |= {"verdict": "not compared", "p": None}
        elif len(finished) < len(outcomes):
            # A mean over the seeds that survived says nothing about the recipe.
            each |= {"verdict": f"none: {len(outcomes) - len(finished)} diverged", "p": None}
    return {
        "variant": spec.variant,
        "phase": spec.phase,
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "note": recipe.dropout_note,
        "n": len(outcomes),
        "seeds": [outcome.spec.config.seed for outcome in outcomes],
        "each": list(accuracies(outcomes).values()),
        "diverged": len(outcomes) - len(finished),
        "stuck": sum(accuracy < STUCK for accuracy in accuracies(finished).values()),
        "compared": fair,
        **measured,
        "reached": {f"{level}": _reached([o.history for o in outcomes], level) for level in LEVELS},
        "mechanism": {name: _inside([o.history for o in finished], name) for name in experiment.mechanism},
        "against_baseline": None,
    }


def _compare(
    experiment: Experiment,
    phase: Phase,
    results: dict[tuple[Phase, str], list[RunResult]],
    rows: list[dict[str, Any]],
) -> None:
    """Put each variant of the family beside the baseline, on the seeds that both have."""
    baseline = accuracies(results.get((phase, BASELINE), []))
    pairs = {}
    for variant in experiment.compared:
        own = accuracies(results.get((phase, variant), []))
        seeds = sorted(own.keys() & baseline.keys())
        if seeds:
            pairs[variant] = ([own[seed] for seed in seeds], [baseline[seed] for seed in seeds])
    whole = len(pairs) == len(experiment.compared)
    for variant, compared in statistics.compare_family(pairs).items():
        row = _row(rows, phase, variant)
        assert row is not None
        others = {k: v for k, v in vars(compared).items() if k != "paired"}
        # The correction is for the whole declared family: no verdict before all of it is there.
        pending = {} if whole else {"verdict": "inconclusive", "enough": False}
        row["against_baseline"] = vars(compared.paired) | others | pending


def _effects(
    experiment: Experiment, phase: Phase, results: dict[tuple[Phase, str], list[RunResult]]
) -> list[dict[str, Any]]:
    """Main effects and interactions of a factorial experiment; empty for the others and while runs are missing."""
    factors = list(experiment.factors)
    if not factors:
        return []
    specs = {}
    for levels in itertools.product((False, True), repeat=len(factors)):
        off = tuple(name for name, on in zip(factors, levels, strict=True) if not on)
        specs[levels] = accuracies(results.get((phase, factorial_name(off)), []))
    seeds = sorted(set.intersection(*(set(values) for values in specs.values())))
    if not seeds:
        return []
    paired = {levels: [values[seed] for seed in seeds] for levels, values in specs.items()}
    effects = statistics.effects(paired, factors)
    return [{"phase": phase, "effect": name, **vars(effect)} for name, effect in effects.items()]


def _tuning(groups: dict[tuple[Phase, str], list[RunResult]]) -> list[dict[str, Any]]:
    """For every variant that was tuned: the grid, the best of it, and whether that stands at the edge."""
    tuned = []
    for (phase, variant), outcomes in groups.items():
        if phase == "tuning":
            grid = sorted((o.spec.config.recipe.learning_rate, _accuracy(o)) for o in outcomes)
            best = _best(outcomes).spec.config.recipe.learning_rate
            tuned.append(
                {
                    "variant": variant,
                    "grid": [{"learning_rate": rate, "accuracy": accuracy} for rate, accuracy in grid],
                    "best": best,
                    "at_the_edge": best in (grid[0][0], grid[-1][0]),
                }
            )
    return tuned


def _best(tried: Sequence[RunResult]) -> RunResult:
    # Of equals the one with the lowest learning rate, which is the safer one.
    return max(tried, key=lambda outcome: (_accuracy(outcome), -outcome.spec.factor))


def _accuracy(outcome: RunResult) -> float:
    return outcome.result.metrics.get("accuracy", CHANCE)


def _reached(histories: Sequence[History], level: float) -> dict[str, float | None]:
    """The median epoch at which the accuracy first reached a level, over the runs that did, and their share."""
    first = []
    for history in histories:
        at = [row["epoch"] for row in history if row.get("test_accuracy", row.get("validation_accuracy", 0)) >= level]
        first += at[:1]
    return {"epoch": plain.median(first) if first else None, "share": len(first) / len(histories)}


def _inside(histories: Sequence[History], metric: str) -> float | None:
    """A measure from inside the network: the mean over layers, epochs and seeds; None where it was not taken.

    Ratios and norms, which span orders of magnitude, are averaged as logarithms.
    """
    values = [
        value
        for history in histories
        for row in history
        for name, value in row.items()
        if name.partition("/")[0] == metric and math.isfinite(value)
    ]
    if not values:
        return None
    if metric in ("gradient_ratio", "gradient_norm"):
        return plain.geometric_mean([max(value, 1e-30) for value in values])
    return plain.fmean(values)


def _row(rows: list[dict[str, Any]], phase: Phase, variant: str) -> dict[str, Any] | None:
    return next((row for row in rows if row["phase"] == phase and row["variant"] == variant), None)


def _run(outcome: RunResult, fair: bool, trained: Set[str]) -> dict[str, Any]:
    result, history, spec = outcome.result, outcome.history, outcome.spec
    on_test_images = fair and spec.phase != "tuning"
    return {
        "name": spec.name,
        "variant": spec.variant,
        "phase": spec.phase,
        "seed": spec.config.seed,
        "learning_rate": spec.config.recipe.learning_rate,
        "run_key": spec.config.key,
        "mlflow_run_id": tracking.run_id(outcome.folder),
        "url": tracking.run_url(outcome.folder),
        "status": result.status,
        "reason": result.reason,
        "trained": spec.config.key in trained,
        "accuracy": result.metrics.get("accuracy"),
        "cross_entropy": result.metrics.get("cross_entropy"),
        "training_seconds": result.metrics.get("training_seconds"),
        "tracking_seconds": tracking.seconds(outcome.folder),
        "pflop": history[-1]["pflop"] if history else 0.0,
        "distance_to_published": notebook.distance([r["test_accuracy"] for r in history])
        if on_test_images and history
        else None,
        "weights_sha256": result.weights_sha256,
        "artifacts": str(outcome.folder.artifacts),
    }
