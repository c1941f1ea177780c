"""`harness run`: from the words of a command line to trained cells and the document that reports them."""

from typing import Any, cast, get_args

from harness import experiment as experiments
from harness import notebook, recipes, statistics, tracking
from harness.cells import Outcome, run_cell
from harness.config import SplitName
from harness.data import Dataset, how_to_get_cifar10, load
from harness.errors import BadInput
from harness.hardware import resolve_precision
from harness.recipes import RECIPES
from harness.report.console import RunDisplay, log


def run(
    experiment: str,
    *,
    budget: str,
    recipe: str,
    seeds: str,
    split_name: str,
    data: str | None,
    engine: str,
    precision: str,
    changes: dict[str, Any],
    fresh: bool,
) -> dict[str, Any]:
    """Bring every cell to its end and return the report. Raises HarnessError for anything the user can mend."""
    experiments.load(experiment)
    recipes.named("recipe", RECIPES, recipe)
    numbers = experiments.parse_seeds(seeds)
    if split_name not in get_args(SplitName):
        raise BadInput(f"--split {split_name} does not fit: it is {' or '.join(get_args(SplitName))}.")
    dataset = find_data(data, may_fall_back=experiment == "baseline" or budget == "smoke")
    planned = experiments.cells(
        experiment, dataset, budget=budget, recipe=recipe, seeds=numbers, split_name=cast(SplitName, split_name),
        engine=engine, precision=resolve_precision(precision), changes=changes,
    )  # fmt: skip
    outcomes = []
    for number, (cell, split) in enumerate(planned, start=1):
        place = f" ({number} of {len(planned)})" if len(planned) > 1 else ""
        with RunDisplay(cell.name + place, cell.config) as display:
            outcomes.append(run_cell(cell, split, dataset, display, fresh=fresh))
    return _document(outcomes, changes)


def find_data(which: str | None, *, may_fall_back: bool) -> Dataset:
    """The data to use; says so when it is not CIFAR-10."""
    dataset = load(which, allow_digits=may_fall_back)
    if dataset.name == "digits" and which != "digits":
        log.print(
            f"[bold]CIFAR-10 was not found and could not be downloaded. {how_to_get_cifar10()} This run goes on with "
            "scikit-learn's 1,797 handwritten digits, so that the machinery can be seen working: its numbers are "
            "named `digits` everywhere and are never compared with 0.86.[/]"
        )
    return dataset


def _document(outcomes: list[Outcome], changes: dict[str, Any]) -> dict[str, Any]:
    first = outcomes[0].cell
    config = first.config
    notes = [config.recipe.dropout_note] if config.recipe.dropout_note else []
    if changes:
        notes.append("changed: " + ", ".join(f"{name}={value}" for name, value in changes.items()))
    finished = [outcome.result.metrics for outcome in outcomes if outcome.result.status == "finished"]
    # The targets are claims about test accuracy of the whole recipe: nothing smaller is held against them.
    fair = finished and notebook.comparable(config.data) and config.split == "final" and first.budget == "full"
    targets = {
        "accuracy": vars(statistics.against_target([m["accuracy"] for m in finished], notebook.ACCURACY_TARGET)),
        "cross_entropy": vars(
            statistics.against_target(
                [m["cross_entropy"] for m in finished], notebook.CROSS_ENTROPY_TARGET, lower_is_better=True
            )
        ),
    } if fair else {}  # fmt: skip
    return {
        "experiment": first.experiment,
        "recipe": first.recipe,
        "budget": first.budget,
        "split": config.split,
        "data": config.data,
        "data_fingerprint": config.data_fingerprint,
        "train_images": config.train_images,
        "epochs": config.recipe.epochs,
        "notes": notes,
        "targets": targets,
        "runs": [_run(outcome, compared=bool(fair)) for outcome in outcomes],
    }


def _run(outcome: Outcome, *, compared: bool) -> dict[str, Any]:
    result, history = outcome.result, outcome.history
    return {
        "name": outcome.cell.name,
        "variant": outcome.cell.variant,
        "seed": outcome.cell.config.seed,
        "run_key": outcome.cell.config.key,
        "mlflow_run_id": tracking.run_id(outcome.folder),
        "url": tracking.run_url(outcome.folder),
        "status": result.status,
        "reason": result.reason,
        "trained": outcome.trained,
        "accuracy": result.metrics.get("accuracy"),
        "cross_entropy": result.metrics.get("cross_entropy"),
        "training_seconds": result.metrics.get("training_seconds"),
        "tracking_seconds": outcome.tracking_seconds,
        "pflop": history[-1]["pflop"] if history else 0.0,
        "distance_to_published": notebook.distance([row["test_accuracy"] for row in history]) if compared else None,
        "weights_sha256": result.weights_sha256,
        "artifacts": str(outcome.folder.artifacts),
    }
