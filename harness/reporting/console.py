"""The terminal: the results of a run, and the two consoles that everything is printed to."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import published as notebook

#: Results go to stdout, everything about the work to stderr: `--json` leaves stdout to the one document.
#: Names of variants, studies and files may hold brackets and colons: no text is taken for markup or emoji.
out = Console(markup=False, emoji=False)
log = Console(stderr=True, highlight=False, markup=False, emoji=False)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(document: dict[str, Any]) -> None:
    """The table at the end of `harness run`, from the document that `--json` prints."""
    for run in document["runs"]:
        if run["status"] == "diverged":
            out.print(Text.assemble((f"{run['name']} diverged", "bold red"), f": {run['reason']}."))
    for variant in document["variants"]:
        if variant["n"] > variant["diverged"]:
            out.print(_table(document, variant))
            what = [document["data"], f"{document['budget']} budget", f"{document['split']} split"]
            what += [f"{variant['epochs']} epochs", document["precision"], variant["note"]]
            _line("  " + " · ".join(filter(None, what)))
    if any(run["trained"] for run in document["runs"]) and all(
        v["n"] < 2 and v["compared"] for v in document["variants"]
    ):
        _line("  One run is no verdict: `make baseline SEEDS=10` gives one.")
    for run in document["runs"]:
        _line(f"  {run['name']}  run {run['run_key']}")
        if run["training_seconds"]:
            _line(f"    {_cost(run)}")
        apart = run["distance_to_published"]
        if apart and document["recipe"] == "published":
            later = apart["largest_after_start"]
            after = "" if later is None else f", at most {later:.3f} after epoch {notebook.START}"
            _line(
                f"    test accuracy is {apart['mean']:.3f} from the published curve over {apart['epochs']:.0f} epochs, "
                f"at most {apart['largest']:.3f} (epoch {apart['epoch']:.0f}){after}"
            )
            for accuracy, (here, there) in apart["first"].items():
                when = f"first in epoch {here}" if here else "in no epoch"
                _line(f"    {accuracy} on the test images {when} (published: {there})")
        _line(f"    figures {run['artifacts']}")
        if run["url"]:
            _line(f"    {'`make ui`, then ' if '//127.0.0.1:' in run['url'] else ''}{run['url']}")


def print_runs(document: dict[str, Any]) -> None:
    """How the runs of a file ended, from the document that `--json` prints."""
    table = Table("spec", "run", "accuracy", title_justify="left")
    for run in document["runs"]:
        ended = run["status"] if run["accuracy"] is None else f"{run['accuracy']:.4f}"
        table.add_row(run["name"], run["run_key"], ended)
    out.print(table)
    trained = sum(run["trained"] for run in document["runs"])
    _line(f"  {len(document['runs'])} specs, {trained} of them trained now; they are in {document['folder']}")


def preview(document: dict[str, Any]) -> None:
    """What `harness run --dry-run` shows, from the document that its `--json` prints."""
    table = Table("spec", "phase", "run", "", title_justify="left")
    for spec in document["specs"]:
        table.add_row(spec["name"], spec["phase"], spec["run_key"], "done" if spec["done"] else "")
    out.print(table)
    done = sum(spec["done"] for spec in document["specs"])
    _line(f"  {len(document['specs'])} runs, {done} done")
    if document["unknown_yet"]:
        _line(f"  and up to {document['unknown_yet']} more at the learning rates that the tuning will choose")
    if document["stale"]:
        _line(f"  {document['stale']} of these runs were done by older code: those results are kept and not used")
    if document["seconds"] is None:
        _line("  How long: unknown until a first run of this budget has ended here.")
    elif done < len(document["specs"]):
        _line(f"  about {duration(document['seconds'])} of training with one worker, by the runs that ended here")


def _cost(run: dict[str, Any]) -> str:
    cost = f"{run['pflop']:.3f} PFLOP in {duration(run['training_seconds'])}"
    if not run["trained"]:
        return f"{cost}; was done already (--fresh trains it again)"
    if run["tracking_seconds"] is None:
        return f"{cost}; a bundle, for `harness sync`"
    share = run["tracking_seconds"] / (run["training_seconds"] + run["tracking_seconds"])
    return f"{cost}; tracking took {run['tracking_seconds']:.1f} s, {share:.1%} of the time"


def _line(text: str) -> None:
    # Paths and names are shown as they are: brackets in them are no markup, and a link must not be broken.
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(document: dict[str, Any], variant: dict[str, Any]) -> Table:
    words = [variant["variant"], f"recipe {document['recipe']}", f"n = {variant['n']}"]
    table = Table(title=" · ".join(words), title_justify="left")
    for column in ("", "this network", "target", "published", "verdict"):
        table.add_column(column)
    for name, label, target, theirs in (
        ("accuracy", "accuracy", f"≥ {notebook.ACCURACY_TARGET:.2f}", "test_accuracy"),
        ("cross_entropy", "cross-entropy", f"< {notebook.CROSS_ENTROPY_TARGET:.2f}", "test_loss"),
    ):
        measured = variant[name]
        cell = f"{measured['mean']:.4f}"
        if measured["interval"]:
            low, high = measured["interval"]
            cell += f"  [{low:.4f}, {high:.4f}]"
        compared = (target, f"{notebook.final()[theirs]:.3f}") if variant["compared"] else ("–", "–")
        table.add_row(label, cell, *compared, measured["verdict"])
    return table
