"""The page of the ledger, docs/records.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.analysis.ledger import FEWEST_SEEDS, LOOK_SEEDS, RECORD_ALPHA, Idea, Try, changes_of
from harness.analysis.stats import t_interval
from harness.common import rounded
from harness.config import changes_text
from harness.published import ACCURACY_TARGET
from harness.reporting.tables import NOTHING

RULES = f"""\
# Records: {ACCURACY_TARGET:g} in as few epochs as possible

Written by `harness record` from `experiments/records/*.json`; do not edit. The network is fixed, and all training
images of CIFAR-10 are used. Settings are said as changes against `fast`.

## Rules

1. Settings are chosen on the split `tune` alone: 45,000 training images, judged by the other 5,000.
2. A try is kept or dropped after {FEWEST_SEEDS} seeds or more. `fast` is tried with as many epochs and as many seeds.
3. Then there is **one** look at the 10,000 test images, without test-time augmentation, by one command with
   {LOOK_SEEDS} seeds, none of them chosen by its result. No seed is added afterwards.
4. A record has a mean above {ACCURACY_TARGET:g} with p < {RECORD_ALPHA:g} (one-sided t test).
5. A try that failed stays. A run that diverged counts as 0.1.

`harness record` refuses a second look with the same settings, a look with another number of seeds or with settings that
are no recipe's and were not kept on `tune`, and a decision with fewer than {FEWEST_SEEDS} seeds. It takes no run out
again. Every file has each run's key, accuracy, hardware, commit and date, and the command.

Where the rules were not kept: `fast` was not tried with 4 and 16 epochs, and with 6 only after the look. Before their
looks `fast` (5 seeds) and the setting with dropout (1 seed) had been seen on the test images, on a CPU.

Mean and interval of a try are over all of its seeds. Where some of them chose it among others, that flatters it: the
text of its idea says what the other seeds give."""

TRIES = (
    "changes against `fast`",
    "epochs",
    "mean [95 % interval]",
    "n",
    "each seed",
    "against `fast`, points",
    "decision",
)


def ledger_page(ledger: Mapping[str, Idea]) -> str:
    """Return the page in Markdown."""
    tries = [each for idea in ledger.values() for each in idea.tries]
    looks = [each for each in tries if each.config.split == "final"]
    parts = [RULES, "## Looks at the test images", *_looks(looks)]
    for name, idea in ledger.items():
        judged = [each for each in idea.tries if each.config.split == "tune"]
        if judged:
            rows = [_row(each, tries) for each in judged]
            parts += [f"## {name}", idea.text, _table(TRIES, rows), _made(judged)]
    return "\n\n".join(parts) + "\n"


def _looks(looks: Sequence[Try]) -> Iterator[str]:
    records = [each for each in looks if each.is_record]
    if not records:
        yield "There is no record yet."
    else:
        fewest = min(each.config.recipe.epochs for each in records)
        yield f"The record is **{fewest} epochs**."
    header = ("epochs", "accuracy, mean [95 % interval]", "p", "seeds", f"against {ACCURACY_TARGET:g}", "changes")
    rows = []
    for each in sorted(looks, key=lambda look: look.config.recipe.epochs):
        p = NOTHING if each.p is None else f"{each.p:.2g}"
        seeds = ", ".join(str(run.seed) for run in each.runs)
        rows.append(
            (
                each.config.recipe.epochs,
                _mean(each),
                p,
                seeds,
                "record" if each.is_record else "no record",
                _changes(each),
            )
        )
    yield _table(header, rows)
    for each in looks:
        yield f"    {each.command}\n\n{_made([each])}"


def _row(tried: Try, tries: Iterable[Try]) -> tuple[object, ...]:
    each = {run.seed: "diverged" if run.diverged else f"{run.accuracy:.4f}" for run in tried.runs}
    seeds = ", ".join(f"{seed}: {accuracy}" for seed, accuracy in each.items())
    return (
        _changes(tried), tried.config.recipe.epochs, _mean(tried), len(tried.runs), seeds, _gain(tried, tries),
        "control" if _is_control(tried) else tried.decision,
    )  # fmt: skip


def _changes(tried: Try) -> str:
    changes = changes_of(tried.config)
    changes.pop("epochs", None)
    return changes_text(changes) or "none"


def _mean(tried: Try) -> str:
    return rounded.accuracy(tried.mean, tried.interval)


def _gain(tried: Try, tries: Iterable[Try]) -> str:
    """The difference to `fast` with as many epochs in the same surroundings, paired by seed."""
    if _is_control(tried):
        return NOTHING
    for other in tries:
        alike = _is_control(other) and _surroundings(other) == _surroundings(tried)
        shared = sorted(tried.accuracies.keys() & other.accuracies.keys())
        if alike and shared:
            gains = [tried.accuracies[seed] - other.accuracies[seed] for seed in shared]
            return rounded.points(sum(gains) / len(gains), t_interval(gains))
    return NOTHING


def _is_control(tried: Try) -> bool:
    """Whether this is `fast`, with any number of epochs."""
    return not changes_of(tried.config).keys() - {"epochs"}


def _surroundings(tried: Try) -> tuple[object, ...]:
    config = tried.config
    return (
        config.recipe.epochs, config.split, config.data_fingerprint, config.engine, config.precision, config.source,
        {run.hardware for run in tried.runs},
    )  # fmt: skip


def _made(tries: Sequence[Try]) -> str:
    """Where and when runs were made."""
    runs = [run for each in tries for run in each.runs]
    configs = [each.config for each in tries]
    parts = (
        sorted({run.hardware for run in runs}),
        sorted({f"{config.engine}, {config.precision}" for config in configs}),
        sorted({config.data for config in configs}),
        sorted({run.date for run in runs}),
        ["commit " + " and ".join(sorted({run.commit for run in runs}))],
    )
    return f"{len(runs)} runs: {'; '.join(', '.join(part) for part in parts)}."


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
