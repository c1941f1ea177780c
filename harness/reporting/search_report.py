"""A search to read, in the terminal and as a Markdown page; and several, compared."""

from typing import Any

from harness.common.rounded import points
from harness.reporting.console import print_line, print_rows
from harness.reporting.search_figures import CAPTIONS
from harness.reporting.tables import NOTHING, Table
from harness.reporting.text import escaped, markdown_table, origin, print_table
from harness.search.study import FEWEST_FOR_IMPORTANCES

#: How many of the best trials are shown in the terminal.
SHOWN = 5


def print_search(document: dict[str, Any]) -> None:
    """The search in the terminal; what matters most comes last."""
    print_line(document["question"], "bold")
    print_line(_context(document), "dim")
    print_table(_best(document, SHOWN))
    if document["importances"]:
        print_table(_importances(document))
    for sentence in _sentences(document):
        print_line(sentence)
    for place in filter(None, (document.get("folder"), document.get("url"))):
        print_line(f"  {place}")


def markdown(document: dict[str, Any], figures: list[str]) -> str:
    """The search as a page of its own, which embeds the pictures by name."""
    parts = [
        f"# {escaped(document['question'])}",
        "\n".join(f"- {sentence}" for sentence in _sentences(document)),
        _context(document),
        markdown_table(_best(document, len(document["trials"]))),
        *([markdown_table(_importances(document))] if document["importances"] else []),
        *(f"![{CAPTIONS[figure.partition('.')[0]]}]({figure})" for figure in figures),
        "## How to make this again",
        f"    {document['command']}",
        origin(*(document[name] for name in ("engine", "source", "data", "data_fingerprint"))),
    ]
    return "\n\n".join(parts) + "\n"


def study_note(document: dict[str, Any]) -> str:
    """The note of the study in Optuna's dashboard, as Markdown."""
    parts = [
        f"**{escaped(document['question'])}**",
        "\n".join(f"- {sentence}" for sentence in _sentences(document)),
        "To add trials, or go on:",
        f"    {document['command']}",
        "To compare the best three with the baseline on seeds that no trial used, and on the test images:",
        f"    {document['command']} --confirm",
        escaped(_context(document)),
    ]
    return "\n\n".join(parts)


def _context(document: dict[str, Any]) -> str:
    rungs = " and ".join(map(str, document["epochs"]))
    return (
        f"{document['study']} · sampler {document['sampler']}, pruner {document['pruner']}, rungs of {rungs} epochs · "
        f"judged on the validation images of the tune split · {document['precision']}"
    )


def _sentences(document: dict[str, Any]) -> list[str]:
    ended = [trial["ended"] for trial in document["trials"]]
    kinds = ", ".join(f"{ended.count(kind)} {kind}" for kind in dict.fromkeys(ended))
    waiting = f"; {document['waiting']} still to come" if document["waiting"] else ""
    said = [
        f"{len(ended)} trials ({kinds}){waiting}: {document['pflop']:.3g} PFLOP, "
        f"{document['training_seconds'] / 3600:.2f} h of training"
    ]
    if _whole(document) < FEWEST_FOR_IMPORTANCES:
        said.append(
            f"Which parameters matter is shown from {FEWEST_FOR_IMPORTANCES} complete trials on; there are "
            f"{_whole(document)}."
        )
    best, baseline = document["best_accuracy"], document["baseline_accuracy"]
    if best is not None and baseline is not None:
        said.append(
            f"Best validation accuracy {best:.4f} (trial {document['best']}), baseline {baseline:.4f}: "
            f"{(best - baseline) * 100:+.2f} points. The best of many trials is partly lucky (selection bias): "
            f"`{document['command']} --confirm` runs the best three on seeds that no trial used."
        )
    return said


def _whole(document: dict[str, Any]) -> int:
    """How many trials went to their end."""
    return sum(trial["ended"] == "complete" for trial in document["trials"])


def _best(document: dict[str, Any], count: int) -> Table:
    """The best trials, and the baseline wherever it stands."""
    whole = sorted(
        (trial for trial in document["trials"] if trial["accuracy"] is not None), key=lambda trial: -trial["accuracy"]
    )
    shown = [trial for place, trial in enumerate(whole) if place < count or trial["is_baseline"]]
    settings = list(dict.fromkeys(setting for trial in shown for setting in trial["recipe"]))
    rows = [
        [
            f"{trial['trial']}{' (baseline)' if trial['is_baseline'] else ''}",
            f"{trial['accuracy']:.4f}",
            *(_value(trial["recipe"].get(setting)) for setting in settings),
        ]
        for trial in shown
    ]
    header = ["trial", "validation\naccuracy", *(setting.replace("_", "\n") for setting in settings)]
    notes = ["Learning rate and batch size are those of the full budget; smaller budgets shrink both."]
    return Table("the best trials", header, rows, notes if rows else [])


def _importances(document: dict[str, Any]) -> Table:
    rows = [[name, f"{share:.2f}"] for name, share in document["importances"].items()]
    title = f"what mattered (PED-ANOVA over {_whole(document)} complete trials)"
    return Table(title, ["parameter", "share"], rows, [])


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, list | tuple):
        return "/".join(f"{each:.2f}" for each in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def print_anytime(document: dict[str, Any]) -> None:
    """The document of `harness.search.anytime` as tables."""
    baseline = document["baseline_accuracy"]
    print_line(
        f"Best validation accuracy after {document['pflop']:.4f} PFLOP, {document['data']}, {document['budget']} "
        f"budget; the baseline has {NOTHING if baseline is None else f'{baseline:.4f}'}"
    )
    rows = [
        [row["method"], str(len(row["best"])), f"{row['mean']:.4f}", " ".join(f"{each:.4f}" for each in row["best"])]
        for row in document["methods"]
    ]
    print_rows(["way of searching", "n", "mean", "each"], rows)
    for row in document["differences"]:
        said = "no test: the repetitions do not differ"
        if row["interval"]:
            low, high = (100 * bound for bound in row["interval"])
            said = f"95 % interval [{low:+.2f}, {high:+.2f}], Welch's p = {row['p']:.3f}"
        print_line(f"  {row['of']} against {row['against']}: {points(row['mean'])} points ({said})")
    for file in document["files"]:
        print_line(f"  {file}")
