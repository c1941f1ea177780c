"""Print in few lines what was found: `python experiments/gpu/tell.py BUNDLES LOGS`. The output may be all that is kept.

Images/s, the accuracy of every variant on the test images, and the tuning on the validation images.
"""

import collections
import itertools
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any


def mean_text(values: list[float]) -> str:
    """Return mean, standard deviation and number of runs."""
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.4f} sd {sd:.4f} n={len(values):2d}"


def read(bundle: Path, name: str) -> Any:
    """Return a JSON document of a bundle."""
    return json.loads((bundle / name).read_text())


def tell_runs(bundles: Path) -> None:
    """Print one line per variant: accuracy on the test images, and the mean difference from the baseline by seed."""
    done = sorted(bundles.glob("runs/*/bundle.json"))
    every = len(list(bundles.glob("runs/*")))
    found: dict[tuple[str, ...], dict[int, float]] = collections.defaultdict(dict)
    diverged: dict[tuple[str, ...], int] = collections.Counter()
    speeds = collections.defaultdict(list)
    tuning = 0
    for bundle in (file.parent for file in done):
        spec, accuracy = read(bundle, "spec.json"), read(bundle, "result.json")["metrics"].get("accuracy")
        config, epochs = spec["config"], [json.loads(line) for line in (bundle / "metrics.jsonl").open()]
        if config["split"] == "tune":
            tuning += 1
            continue
        # Experiments share their baseline, whichever of them has trained it.
        experiment = "baseline" if spec["variant"] == "baseline" else spec["experiment"]
        # A phase by itself, and a number of images: a difference is between runs that have both in common.
        phase = "" if spec["phase"] == "same recipe" else spec["phase"]
        size = "" if spec["budget"] == "full" else str(config["train_images"])
        name: tuple[str, ...] = (spec["recipe"], experiment, spec["variant"], spec["changes"], size, phase)
        if accuracy is None:
            diverged[name] += 1
        else:
            found[name][config["seed"]] = accuracy
        for before, after in itertools.pairwise(epochs):
            passed = (after["timestamp"] - before["timestamp"]) / 1e3
            numbers = (after["epoch_seconds"], after.get("probe_seconds", 0.0), passed, after["images_per_second"])
            speeds["baseline" if name[1:4] == ("baseline", "baseline", "") else "others"].append(numbers)
    print(f"{len(done)} runs are whole ({tuning} of the tuning), {every - len(done)} are not")
    for which, rows in sorted(speeds.items()):
        words = ("train + evaluate", "probe", "epoch to epoch", "images/s")
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        told = ", ".join(f"{word} {value:.3f}" for word, value in zip(words, medians, strict=True))
        print(f"medians, {which}: {told}")
    for name in sorted({*found, *diverged}):
        recipe, experiment, _, changes, size, phase = name
        # A setting of the baseline is held against the baseline without it, a variant against one with the same.
        against = (recipe, "baseline", "baseline", "" if experiment == "baseline" else changes, size)
        # A baseline whose own best rate is the recipe's has no run of that phase.
        usual = found.get((*against, phase)) or found.get((*against, "")) or {}
        values = found[name]
        itself = usual is values
        differences = [] if itself else [values[seed] - usual[seed] for seed in values.keys() & usual.keys()]
        told = mean_text([*values.values()]) if values else ""
        by = f" {statistics.fmean(differences):+.4f}" if differences else ""
        lost = f" {diverged[name]} diverged" if diverged[name] else ""
        print(f"{' '.join(filter(None, name)).removeprefix('fast '):46s} {told}{by}{lost}")


SHORT = {
    "batch_size": "batch", "learning_rate": "rate", "weight_decay": "decay", "label_smoothing": "smooth",
    "normalization_momentum": "bn",
}  # fmt: skip


def short(value: Any) -> str:
    """Return the value of a setting as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tell_tuning(document: dict[str, Any]) -> None:
    """Print one line per setting, the best last; the settings of `classic` with one seed as a table."""
    stages: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for trial in document["trials"]:
        if trial["n"]:
            stages[trial["stage"]].append(trial)
    for stage, trials in stages.items():
        print(f"{stage}, validation accuracy:")
        if stage == "classic":
            tell_grid(trials)
            trials = [trial for trial in trials if trial["n"] > 1]
        # In the order of the choices: first by how many seeds they have.
        order = sorted(trials, key=lambda trial: (trial["n"], trial["mean"]))
        for trial in trials if stage == "rates" else order:
            changes = " ".join(f"{SHORT.get(name, name)}={short(value)}" for name, value in trial["changes"].items())
            seeds = " ".join(f"{value:.4f}" for value in trial["accuracy"].values()) if trial["n"] > 1 else ""
            words = f"{trial['recipe']} {trial['note']}" if stage == "rates" else f"{changes} {trial['note']}"
            print(f" {trial['mean']:.4f} n={trial['n']} {words.strip()}{seeds and ': ' + seeds}")
    for stage, chosen in document["chosen"].items():
        print(f"chosen by {stage}: {chosen['recipe']} with {chosen['changes']}")


def tell_grid(trials: list[dict[str, Any]]) -> None:
    """Print a table of learning rates by weight decays, seed 0."""
    cells = {(t["changes"]["learning_rate"], t["changes"]["weight_decay"]): t["accuracy"].get("0") for t in trials}
    rates, decays = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
    print(" rate \\ decay" + "".join(f"{decay:>8g}" for decay in decays))
    for rate in rates:
        row = (cells.get((rate, decay)) for decay in decays)
        print(f"{rate:>13g}" + "".join(f"{value:8.4f}" if value is not None else " " * 8 for value in row))


def main() -> None:
    """Print everything, the shortest and most important last."""
    bundles, logs = Path(sys.argv[1]), Path(sys.argv[2])
    # Processes that share their tries know the same ones in the end.
    files = {file.stem.rstrip("-0123456789"): file for file in sorted(bundles.glob("tuning-*.json"), reverse=True)}
    for file in files.values():
        tell_tuning(json.loads(file.read_text()))
    tell_runs(bundles)
    for file in sorted(logs.glob("look*.json")):
        found = json.loads(file.read_text())
        rounds = " ".join(f"{rate:.0f}" for rate in found["rounds"])
        print(
            f"{file.stem}: {found['images_per_s']:.0f} images/s ({rounds}), first round {found['first_round_s']:.1f} s"
        )


if __name__ == "__main__":
    main()
