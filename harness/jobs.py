"""`harness run`: from the words of a command line to trained cells and the document that reports them."""

from typing import Any, cast, get_args

from harness import experiment, notebook, recipes, statistics, tracking
from harness.cells import Outcome, run_cell
from harness.config import Network, SplitName, change
from harness.data import Dataset, how_to_get_cifar10, load
from harness.engine import ENGINES
from harness.errors import BadInput
from harness.hardware import resolve_precision
from harness.recipes import BUDGETS, RECIPES
from harness.report.console import RunDisplay, log


def run(
    name: str,
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
    # What is wrong with the command is said before any data is looked for, let alone downloaded.
    experiment.load(name)
    recipes.named("budget", BUDGETS, budget)
    change(Network(), recipes.named("recipe", RECIPES, recipe), changes)
    recipes.named("engine", dict.fromkeys(ENGINES), engine)
    numbers = experiment.parse_seeds(seeds)
    if split_name not in get_args(SplitName):
        raise BadInput(f"--split {split_name} does not fit: it is {' or '.join(get_args(SplitName))}.")
    exact_precision = resolve_precision(precision)
    small = name == "baseline" and recipe == "fast" and len(numbers) == 1
    dataset = find_data(data, may_fall_back=small or budget == "smoke")
    planned = experiment.cells(
        name, dataset, budget=budget, recipe=recipe, seeds=numbers, split_name=cast(SplitName, split_name),
        engine=engine, precision=exact_precision, changes=changes,
    )  # fmt: skip
    outcomes = []
    for number, (cell, split) in enumerate(planned, start=1):
        place = f" ({number} of {len(planned)})" if len(planned) > 1 else ""
        with RunDisplay(cell.name + place, cell.config) as display:
            outcomes.append(run_cell(cell, split, dataset, display, fresh=fresh))
    return _document(outcomes)


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


def _document(outcomes: list[Outcome]) -> dict[str, Any]:
    first = outcomes[0].cell
    config = first.config
    # The targets are claims about test accuracy after the whole recipe: nothing smaller is held against them.
    fair = notebook.comparable(config.data) and config.split == "final" and first.budget == "full"
    variants = dict.fromkeys(outcome.cell.variant for outcome in outcomes)
    return {
        "experiment": first.experiment,
        "recipe": first.recipe,
        "budget": first.budget,
        "split": config.split,
        "data": config.data,
        "data_fingerprint": config.data_fingerprint,
        "train_images": config.train_images,
        "precision": config.precision,
        "variants": [_variant([o for o in outcomes if o.cell.variant == name], fair) for name in variants],
        "runs": [_run(outcome, fair) for outcome in outcomes],
    }


def _variant(outcomes: list[Outcome], fair: bool) -> dict[str, Any]:
    """Means over the seeds of one variant, against the targets where that is fair."""
    recipe = outcomes[0].cell.config.recipe
    finished = [outcome.result.metrics for outcome in outcomes if outcome.result.status == "finished"]
    against = {}
    if finished:
        accuracies = [metrics["accuracy"] for metrics in finished]
        losses = [metrics["cross_entropy"] for metrics in finished]
        target, limit = notebook.ACCURACY_TARGET, notebook.CROSS_ENTROPY_TARGET
        against["accuracy"] = vars(statistics.against_target(accuracies, target))
        against["cross_entropy"] = vars(statistics.against_target(losses, limit, lower_is_better=True))
    for measured in against.values():
        if not fair:
            measured |= {"verdict": "not compared", "p": None}
        elif len(finished) < len(outcomes):
            # A mean over the seeds that survived says nothing about the recipe.
            measured |= {"verdict": f"none: {len(outcomes) - len(finished)} diverged", "p": None}
    return {
        "variant": outcomes[0].cell.variant,
        "epochs": recipe.epochs,
        "note": recipe.dropout_note,
        "n": len(outcomes),
        "diverged": len(outcomes) - len(finished),
        "compared": fair,
        **against,
    }


def _run(outcome: Outcome, fair: bool) -> dict[str, Any]:
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
        "distance_to_published": notebook.distance([r["test_accuracy"] for r in history]) if fair and history else None,
        "weights_sha256": result.weights_sha256,
        "artifacts": str(outcome.folder.artifacts),
    }
