"""What a report comes to in plain sentences: for who reads nothing else, in the terminal and on the page."""

from collections.abc import Iterable, Sequence

from harness import experiment
from harness.analysis import MARGIN, Compared
from harness.analysis.report import Report, VariantRow
from harness.common.rounded import accuracy, point, span
from harness.reporting.sentences import command
from harness.reporting.tables import failed, margin, seeds_needed

#: A prediction came true or not, a difference has a verdict: not the same words for both.
SCORES = {"supported": "came true", "refuted": "did not come true", "undecided": "undecided"}

#: So many differences are named in a sentence, the largest first; tables and figures have all.
NAMED = 3

#: The verdict of a comparison that cannot have one yet.
FEW = "too few seeds"

#: What is said of the variants with a verdict, in this order: of one, and of several.
SAID = {
    "better": ("is better than the baseline", "are better than the baseline"),
    "worse": ("is worse than the baseline", "are worse than the baseline"),
    "equivalent": (f"is within {margin()} of the baseline", f"are within {margin()} of the baseline"),
    "undecided": ("is undecided (no difference is shown yet)", "are undecided (no difference is shown yet)"),
    "exploratory": ("was looked at before it was declared", "were looked at before they were declared"),
    FEW: ("has too few seeds for a verdict", "have too few seeds for a verdict"),
}


def answer(report: Report) -> str:
    """The answer in one sentence; for a report with nothing to compare, what its baseline reached."""
    compared = primary(report)
    if not compared:
        return _reached(report)
    if all(each.verdict == FEW for _, each in compared):
        return (
            f"With {_seeds(compared)} there is no verdict yet: it takes {_needed(report)} of every variant. So far: "
            f"{_told(compared)}"
        )
    groups: dict[str, list[str]] = {word: [] for word in SAID}
    for row, each in compared:
        groups.setdefault(each.verdict, []).append(f"{row.variant} ({', '.join([point(each.mean), *failed(row)])})")
    said = [f"{_listed(names)} {SAID[word][len(names) > 1]}" if word in SAID else f"{_listed(names)}: {word}"
            for word, names in groups.items() if names]  # fmt: skip
    return f"With {_seeds(compared)}, in points of {report.judged} accuracy: {'; '.join(said)}."


def caveats(report: Report) -> list[str]:
    """What the answer rests on, and what it does not say, in a few sentences."""
    compared = primary(report)
    if all(each.verdict == FEW for _, each in compared):
        return []
    said, rests = [], []
    if report.budget != "full":
        whole = " of the 50,000" if report.data.startswith("cifar10") else ""
        rests += [f"{report.train_images:,}{whole} training images", f"{report.variants[0].epochs} epochs"]
    if not report.rows("retuned"):
        rests.append("one learning rate for all variants")
    if rests:
        said.append(f"This rests on {_listed([*rests, _seeds(compared)])} only.")
    found = [(row, each) for row, each in compared if each.verdict in ("better", "worse")]
    wide = [
        (row, each.interval)
        for row, each in compared
        if each.verdict == "undecided" and each.interval and any(abs(each.mean) > abs(other.mean) for _, other in found)
    ]
    for row, interval in wide[:1]:
        said.append(
            f"A verdict goes by the interval and not by the size of a difference: that of {row.variant} is larger and "
            f"undecided, as its runs are further apart and its interval, {span(interval)}, holds zero."
        )
    return said


def differences(report: Report) -> str:
    """The largest differences with what they may be, in one sentence; empty where nothing is compared."""
    compared = primary(report)
    # An answer without verdicts holds them.
    return "" if all(each.verdict == FEW for _, each in compared) else _told(compared)


def _told(compared: Sequence[tuple[VariantRow, Compared]]) -> str:
    compared = _largest_first(compared)
    told = [f"{row.variant}: {_points(each)}" for row, each in compared[:NAMED]]
    more = len(compared) - NAMED
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "") + "." if told else ""


def next_step(report: Report) -> tuple[str, str]:
    """What to do now: words, and a command or nothing. For a verdict, else what became of the predictions."""
    compared = primary(report)
    if needed := _needed(report):
        if report.command or report.experiment not in experiment.names():
            return f"For a verdict: {needed} seeds of each variant.", ""
        return "For a verdict:", command(report, seeds=list(range(needed)))
    if not report.predictions:
        return "To make it again:", command(report)
    phase = compared[0][0].phase if compared else "same recipe"
    scores = [each.score for each in report.predictions if each.phase == phase]
    counted = [f"{scores.count(score)} {words}" for score, words in SCORES.items() if score in scores]
    return f"Of {len(scores)} prediction{'s' * (len(scores) != 1)} made before: {', '.join(counted)}.", ""


def change_of_mind(report: Report) -> list[str]:
    """What would change the answer: what new runs would have to show, and what was held fixed."""
    said = []
    for row, each in primary(report):
        if not each.interval:
            continue
        low, high = each.interval
        if each.verdict == FEW:
            equivalent = low > -MARGIN and high < MARGIN
            other = f"leaves ±{margin()}" if equivalent else "leaves out 0" if low <= 0 <= high else "reaches 0"
            said.append(f"{row.variant}: an interval that {other} with all seeds. So far it is {span(each.interval)}.")
        elif each.verdict in ("worse", "better"):
            end = high if each.verdict == "worse" else low
            said.append(f"{row.variant}: an interval that reaches 0. Its nearer end is now {point(end)} points.")
        elif each.verdict == "equivalent":
            said.append(f"{row.variant}: an interval that leaves ±{margin()}. It is now {span(each.interval)}.")
        else:
            now = f"{each.n} seeds do not tell: the interval is {span(each.interval)} points"
            bad = f" ({', '.join(failed(row))})" if failed(row) else ""
            said.append(f"{row.variant}: more seeds. {now}{bad}.")
    if not report.rows("retuned"):
        said.append(
            "A learning rate of its own for each variant: here all have the baseline's, which may suit some less."
        )
    if report.budget != "full":
        said.append(f"A longer training, on more than {report.train_images:,} images.")
    said.append(f"Other data than {report.data}, another network, or other settings than those here.")
    return said


def primary(report: Report) -> list[tuple[VariantRow, Compared]]:
    """The variants that were compared under the one recipe, or retuned where that is all there is."""
    for phase in ("same recipe", "retuned"):
        found = [(row, row.against_baseline) for row in report.rows(phase) if row.against_baseline]
        if found:
            return found
    return []


def _needed(report: Report) -> int | None:
    compared = primary(report)
    return seeds_needed(report, compared[0][0].phase) if compared else None


def _largest_first(compared: Iterable[tuple[VariantRow, Compared]]) -> list[tuple[VariantRow, Compared]]:
    return sorted(compared, key=lambda pair: -abs(pair[1].mean))


def _points(compared: Compared) -> str:
    between = f", interval {span(compared.interval)}" if compared.interval else ""
    return f"{point(compared.mean)} points{between}"


def _seeds(compared: Sequence[tuple[VariantRow, Compared]]) -> str:
    counts = sorted({each.n for _, each in compared})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{seeds} seed{'s' * (counts != [1])}"


def _reached(report: Report) -> str:
    for row in report.variants:
        if row.accuracy:
            mean = f"{row.variant} reaches {accuracy(row.accuracy.mean)} on the {report.judged} images"
            return f"{mean} (n = {row.n})."
    return "No run has finished."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
