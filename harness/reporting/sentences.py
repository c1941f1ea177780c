"""The sentences of a report: what became of the predictions, under which conditions, and how sure that is."""

import dataclasses
import shlex

from harness import experiment, published
from harness.analysis.report import Report
from harness.analysis.stats import CHANCE, STUCK
from harness.common import rounded
from harness.config import read_changes
from harness.data.loader import NAMED
from harness.reporting.console import duration
from harness.reporting.tables import seeds_needed
from harness.run_options import seeds_text

#: So many variants are told in a sentence; more are in a table alone.
FEW = 5

#: What the settings of a network are called, in the order of its layers.
SETTINGS = {
    "normalization": {"batch": "batch norm", "layer": "layer norm", "group": "group norm", "none": "no normalization"},
    "activation": {
        "relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh", "gelu": "GELU", "silu": "SiLU", "linear": "no activation",
    },
    "pooling": {"max": "max-pooling", "average": "average pooling"},
    "input_scaling": {
        "standardised": "standardised pixels", "unit": "pixels from 0 to 1", "raw": "pixels from 0 to 255",
    },
}  # fmt: skip


def findings(report: Report) -> list[tuple[str, str]]:
    """What was found, a verdict and its reason each: first against the notebook's target, then of the predictions."""
    return _against_the_target(report) + scored(report)


def scored(report: Report) -> list[tuple[str, str]]:
    """Of every prediction: supported, refuted or undecided; and of which variant, because of which numbers."""
    found: list[tuple[str, str]] = []
    for each in report.predictions:
        because = f"{each.variant}, {each.phase}: {each.because}"
        if needed := seeds_needed(report, each.phase):
            because = (
                because.removesuffix(", verdict too few seeds") + f"; too few seeds for a verdict, {needed} needed"
            )
        found.append((each.score, because))
    return found


def _against_the_target(report: Report) -> list[tuple[str, str]]:
    """Of the baseline, where that is fair: whether it reaches the notebook's accuracy, and with which numbers."""
    found: list[tuple[str, str]] = []
    for row in report.rows("same recipe"):
        measured = row.accuracy
        if row.variant == experiment.BASELINE and row.compared and measured:
            numbers = f"accuracy {rounded.accuracy(measured.mean, measured.interval)}"
            own = published.final()["test_accuracy"]
            target = (
                f"the notebook's {published.ACCURACY_TARGET:.2f} (its own curve: {own:.3f} over the last 20 epochs)"
            )
            found.append((measured.verdict, f"{row.variant} against {target}: {numbers}, n = {row.n}"))
    return found


def about(report: Report) -> str:
    """The data and how much of it, in few words."""
    recipe = f"recipe {report.recipe}" if report.recipe else ""
    return " · ".join(filter(None, [report.data, f"{report.budget} budget", recipe, report.changes]))


def setting(report: Report) -> str:
    """The same with the images, as the figures have it."""
    images = f"{report.train_images:,} training and {report.eval_images:,} {report.judged} images"
    return f"{about(report)} · {images}"


def baseline(report: Report) -> str:
    """What the baseline is, in one sentence; empty where no run of it is there."""
    if not report.network:
        return ""
    settings = dataclasses.asdict(report.network)
    parts = [words[settings[name]] for name, words in SETTINGS.items()]
    if report.network.normalization != "none" and report.network.normalization_place == "after":
        parts[0] += " behind each activation"
    said = f"Baseline: the 18-layer CNN of the notebook with {', '.join(parts[:-1])} and {parts[-1]}."
    return " ".join(filter(None, [said, _changes(report)]))


def _changes(report: Report) -> str:
    """What the variants change; of a factorial design, what each factor is when it is off."""
    changes = {row.variant: row.settings for row in report.variants if row.settings and " + " not in row.variant}
    if not changes:
        return "Each variant changes what its name says." if len(report.variants) > 1 else ""
    if len(changes) > FEW:
        return "What each variant changes is in the table of its settings."
    return f"Settings: {'; '.join(f'{variant} is {changed}' for variant, changed in changes.items())}."


def context(report: Report) -> str:
    """Everything that the report was made on."""
    words = [setting(report), f"{report.split} split", report.precision]
    for row in report.variants[:1]:
        changed = [change.partition("=")[0] for change in report.changes.split(", ")]
        words += [f"{row.epochs} epochs"] if "epochs" not in changed else []
        words += [f"batch size {row.batch_size}"] if "batch_size" not in changed else []
        words.append(row.note)
    seeds = _seeds(report)
    all_of_them = f"0-{seeds[-1]}" if _from_zero(seeds) and len(seeds) > 1 else ", ".join(map(str, seeds))
    words.append(f"seeds {all_of_them}" if seeds else "")
    return " · ".join(filter(None, words))


def reservations(report: Report) -> list[str]:
    """What a reader should know before trusting the report."""
    return [*_of_the_tuning(report), *_of_failures(report), *_of_unlike_pairs(report), *_of_the_design(report)]


def _of_the_tuning(report: Report) -> list[str]:
    said = [
        f"The best learning rate of {each.variant}, {each.best:.3g}, is at the edge of the grid: a better one may lie "
        f"beyond, so its retuned result may be too low."
        for each in report.tuning
        if each.at_the_edge
    ]
    for each in report.tuning:
        if not each.clear and not each.at_the_edge:
            whose = "no retuned variant has" if each.variant == experiment.BASELINE else "retuned, it does not have"
            said.append(
                f"The best learning rate of {each.variant}, {each.best:.3g}, is not clear of the next one: {whose} a "
                f"verdict."
            )
    return said


def _of_failures(report: Report) -> list[str]:
    said = []
    for row in report.variants:
        reasons = [
            run.reason
            for run in report.runs
            if run.status == "diverged" and (run.variant, run.phase) == (row.variant, row.phase)
        ]
        if reasons:
            said.append(f"{row.variant}, {row.phase}: {len(reasons)} of {row.n} runs diverged ({reasons[0]}).")
        if row.stuck:
            mixed = ", so that the mean is of two kinds of runs" if row.stuck < row.n else ""
            said.append(
                f"{row.variant}, {row.phase}: {row.stuck} of {row.n} runs {'are' if row.stuck > 1 else 'is'} stuck "
                f"(accuracy below {STUCK:g}, where guessing gives {CHANCE:g}){mixed}."
            )
    return said


def _of_unlike_pairs(report: Report) -> list[str]:
    unlike: dict[tuple[str, int, int], list[str]] = {}
    for row in report.variants:
        if row.unlike_pairs:
            unlike.setdefault((row.phase, row.unlike_pairs, row.n), []).append(row.variant)
    return [
        f"{', '.join(variants)}, {phase}: in {pairs} of {n} pairs{' of each' if len(variants) > 1 else ''} the two "
        f"runs were trained in different environments (processor, threads or versions), so more than the variant "
        f"differs."
        for (phase, pairs, n), variants in unlike.items()
    ]


def _of_the_design(report: Report) -> list[str]:
    said = []
    if report.exploratory:
        said.append(
            "These seeds and variants were not declared before the first run for this question (the design of that "
            "first command is kept): the differences are exploratory and have neither p nor verdict."
        )
    if report.missing:
        said.append(
            f"{report.missing} of {report.missing + len(report.runs)} runs are not done yet: this report is "
            f"preliminary."
        )
    if report.stale:
        said.append(f"{report.stale} of these runs were done by older code: their results are kept, and not used here.")
    return said


def cost(report: Report) -> str:
    """How many runs the report rests on, and how much work."""
    # A variant that the recipe's own rate suits best is retuned by the runs that it has.
    runs = {run.run_key: run for run in report.runs}.values()
    seconds = sum(run.training_seconds or 0 for run in runs)
    return f"{len(runs)} runs, {sum(run.pflop for run in runs):.3g} PFLOP, {duration(seconds)} of training"


def command(report: Report, seeds: list[int] | None = None) -> str:
    """The one command that makes the report again, as a shell takes it. seeds: others than the report's."""
    if report.command:
        return report.command
    name = report.experiment
    if name not in experiment.names():
        # Some runs, compared: the first is one of the baseline's.
        return shlex.join(["harness", "compare", *dict.fromkeys(run.run_key for run in report.runs)])
    # Which engine is the usual one depends on the machine.
    words = ["harness", "run", name, "--budget", report.budget, "--engine", report.engine]
    words += ["--precision", report.precision]
    for option, usual in {"recipe": "fast", "split": "final"}.items():
        given = getattr(report, option)
        words += [f"--{option}", given] if given != usual else []
    if seeds or len(report.looks) == 1:
        seeds = seeds or _seeds(report)
    if seeds:
        words += ["--seeds", seeds_text(seeds)]
    if report.data in NAMED:
        words += ["--data", report.data]
    there, shown = experiment.load(name).variants, {row.variant for row in report.variants}
    chosen = [variant for variant in there if variant in shown]
    if len(chosen) < len(there) and not report.missing:
        words += [word for variant in chosen for word in ("--variant", variant)]
    words += [word for item in read_changes(report.changes).items() for word in ("--set", "=".join(item))]
    if bool(report.tuning) == (report.budget == "smoke"):
        words.append("--retune" if report.tuning else "--no-retune")
    return shlex.join(words)


def again(report: Report) -> str:
    """A command that shows the report again and trains nothing: there is none for a search's, but its own."""
    shown = command(report)
    return shown.replace("harness run", "harness compare", 1) if " --variant " not in shown else shown


def _seeds(report: Report) -> list[int]:
    return sorted({seed for row in report.variants for seed in row.seeds})


def _from_zero(seeds: list[int]) -> bool:
    return seeds == list(range(len(seeds)))
