"""The sentences of an answer, from its document: what came of the predictions, under which conditions, and how sure."""

import shlex
from typing import Any

from harness import experiment
from harness import published as notebook
from harness.config import read_changes
from harness.plan import seeds_text
from harness.reporting.console import duration
from harness.reporting.tables import rows, seeds_needed


def findings(document: dict[str, Any]) -> list[tuple[str, str]]:
    """What was found, a verdict and its reason each: first against the notebook's target, then of the predictions."""
    return _against_the_target(document) + _scored(document)


def _scored(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Of every prediction: supported, refuted or inconclusive; and of which variant, because of which numbers."""
    found = []
    for each in document["predictions"]:
        because = f"{each['variant']}, {each['phase']}: {each['because']}"
        if needed := seeds_needed(rows(document, each["phase"])):
            because += f"; too few seeds for a verdict, {needed} needed"
        found.append((each["score"], because))
    return found


def _against_the_target(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the baseline, where that is fair: whether it reaches the notebook's accuracy, and with which numbers."""
    found = []
    for row in rows(document, "same recipe"):
        measured = row["accuracy"]
        if row["variant"] == experiment.BASELINE and row["compared"] and measured:
            numbers = f"accuracy {measured['mean']:.4f}"
            if measured["interval"]:
                numbers += " [{:.4f}, {:.4f}]".format(*measured["interval"])
            target = f"the notebook's {notebook.ACCURACY_TARGET:.2f}"
            found.append((measured["verdict"], f"{row['variant']} against {target}: {numbers}, n = {row['n']}"))
    return found


def about(document: dict[str, Any]) -> str:
    """The data and how much of it, in few words."""
    recipe = [f"recipe {document['recipe']}"] if document["recipe"] else []
    changes = [document["changes"]] if document["changes"] else []
    return " · ".join([document["data"], f"{document['budget']} budget", *recipe, *changes])


def setting(document: dict[str, Any]) -> str:
    """The same with the images, as the figures have it."""
    images = f"{document['train_images']:,} training and {document['eval_images']:,} {judged(document)} images"
    return f"{about(document)} · {images}"


def judged(document: dict[str, Any]) -> str:
    """What the images are called that the runs are judged by."""
    return "test" if document["split"] == "final" else "validation"


def context(document: dict[str, Any]) -> str:
    """All of what the answer rests on."""
    words = [setting(document), f"{document['split']} split", document["precision"]]
    for row in document["variants"][:1]:
        words += [f"{row['epochs']} epochs", f"batch size {row['batch_size']}", row["note"]]
    seeds = _seeds(document)
    all_of_them = f"0-{seeds[-1]}" if _from_zero(seeds) and len(seeds) > 1 else ", ".join(map(str, seeds))
    words.append(f"seeds {all_of_them}" if seeds else "")
    return " · ".join(filter(None, words))


def reservations(document: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the answer."""
    said = [
        f"The best learning rate of {each['variant']}, {each['best']:.3g}, is at the edge of the grid: a better one "
        f"may lie beyond, so its retuned result may be too low."
        for each in document["tuning"]
        if each["at_the_edge"]
    ]
    for row in document["variants"]:
        reasons = [
            run["reason"]
            for run in document["runs"]
            if run["status"] == "diverged" and (run["variant"], run["phase"]) == (row["variant"], row["phase"])
        ]
        if reasons:
            where = f"{row['variant']}, {row['phase']}"
            said.append(f"{where}: {len(reasons)} of {row['n']} runs diverged ({reasons[0]}).")
    if missing := document.get("missing", 0):
        said.append(
            f"{missing} of {missing + len(document['runs'])} runs are not done yet: this answer is preliminary."
        )
    if stale := document.get("stale", 0):
        said.append(f"{stale} finished runs of these runs are by older code, and no part of this answer.")
    return said


def cost(document: dict[str, Any]) -> str:
    """How many runs the answer took, and how much work."""
    # A variant that the recipe's own rate suits best is retuned by the runs that it has.
    runs = {run["run_key"]: run for run in document["runs"]}.values()
    seconds = sum(run["training_seconds"] or 0 for run in runs)
    return f"{len(runs)} runs, {sum(run['pflop'] for run in runs):.3g} PFLOP, {duration(seconds)} of training"


def command(document: dict[str, Any]) -> str:
    """The one command that makes the answer again."""
    if "command" in document:
        return document["command"]
    name = document["experiment"]
    if name not in experiment.names():
        return shlex.join(["harness", "compare", *(run["run_key"] for run in document["runs"])])
    words = ["harness", "run", name, "--budget", document["budget"], "--precision", document["precision"]]
    for option, usual in {"recipe": "fast", "split": "final", "engine": "tensorflow"}.items():
        words += [f"--{option}", document[option]] if document[option] != usual else []
    if seeds := _seeds(document):
        words += ["--seeds", seeds_text(seeds)]
    if document["data"] == "digits":
        words += ["--data", "digits"]
    there, shown = experiment.load(name).variants, {row["variant"] for row in document["variants"]}
    chosen = [variant for variant in there if variant in shown]
    if len(chosen) < len(there) and not document.get("missing", 0):
        words += [word for variant in chosen for word in ("--variant", variant)]
    words += [word for item in read_changes(document["changes"]).items() for word in ("--set", "=".join(item))]
    if bool(document["tuning"]) == (document["budget"] == "smoke"):
        words.append("--retune" if document["tuning"] else "--no-retune")
    return shlex.join(words)


def _seeds(document: dict[str, Any]) -> list[int]:
    return sorted({seed for row in document["variants"] for seed in row["seeds"]})


def _from_zero(seeds: list[int]) -> bool:
    return seeds == list(range(len(seeds)))
