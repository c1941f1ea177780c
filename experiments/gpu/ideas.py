"""Fewer epochs, on the validation images: `python -m experiments.gpu.ideas BUNDLES NAME SHARE [SHARES]`.

Declared before any of it was run. Every try trains on the 45,000 images of the split `tune` and is judged by the other
5,000; a run that diverges counts as 0.1. The changes are against `fast`.

    record     Which ideas of the speed-run ledgers shorten the training?
               1. `fast` with 6 epochs, seeds 0, 1, 2: the control that docs/records.md lacks.
               2. `fast` with 5 epochs (the control) and each of IDEAS alone, seeds 0, 1, 2.
               3. The best idea; then the others with a mean above the control's, from the best on, at most MOST_ADDED
                  of them: each is added to what is kept so far, and stays if the mean of the seeds 0, 1, 2 rises.
               4. What is kept, and the control, with the seeds 3 to 8, which have chosen nothing.
               5. If the mean of what is kept over these six is at least 0.859: one look at the test images, seeds 10
                  to 19. (0.8622 there was 0.8646 on the test images for 6 epochs, and a record needs about 0.8625.)
    dropout    Dropout 0.5 in all four places, ramped up from 0, with 16 epochs.
               1. Batch norm behind the activation, which gave 0.8547 on the test images (the control), and each of
                  WITH_DROPOUT added to it, seeds 0, 1, 2.
               2. All of them that have a mean above the control's, together, seeds 0, 1, 2.
               3. If the best mean of these is at least 0.857: one look at the test images, seeds 10 to 19.

SHARES processes may do this side by side. Process SHARE, from 0 on, trains every seed that is SHARE modulo SHARES, and
waits for the others' runs in BUNDLES. All decide alike, from the same numbers. BUNDLES/tuning-NAME-SHARE.json has all
tries, written after every run. Budget and precision are $BUDGET (full) and $PRECISION (bfloat16).
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.gpu.tune import Trial, Tuning, in_the_environment
from experiments.studies import DROPOUT, SIX_EPOCHS
from harness.config import Precision
from harness.execute.run_one import is_done

IDEAS: dict[str, dict[str, Any]] = {
    "alternating flip": {"alternating_flip": True},
    "whitened first layer": {"first_layer": "whitened"},
    "dirac": {"dirac": 1.0},
    "biases x 8": {"sgd_ratio": 8.0},
    "biases x 32": {"sgd_ratio": 32.0},
    "rate 0.06": {"learning_rate": 0.06},
    "steep, then flat": {"decay_power": 1.5},
    "settings of record6": {name: value for name, value in SIX_EPOCHS.changes.items() if name != "epochs"},
    "3 iterations": {"muon_iterations": 3},
    "norm's momentum 0.7": {"normalization_momentum": 0.7},
    "lookahead": {"weight_averaging": "lookahead"},
    "lookahead, norm's momentum 0.7": {"weight_averaging": "lookahead", "normalization_momentum": 0.7},
    "ema": {"weight_averaging": "ema"},
    "wrap": {"shift_mode": "wrap"},
}  # fmt: skip
CHOOSING, FRESH, LOOK = (0, 1, 2), (3, 4, 5, 6, 7, 8), tuple(range(10, 20))
MOST_ADDED = 4
RECORD_BAR = 0.859

WITH_DROPOUT: dict[str, dict[str, Any]] = {
    "no label smoothing": {"label_smoothing": 0.0},
    "decay 0.01": {"weight_decay": 0.01},
    "rate 0.06": {"learning_rate": 0.06},
    "whitened first layer, alternating flip": {"first_layer": "whitened", "alternating_flip": True},
}
DROPOUT_BAR = 0.857

#: Seconds after which a process trains what another one should have trained.
PATIENCE = 200.0


class Shared(Tuning):
    """Tries whose seeds are divided among processes."""

    def __init__(self, folder: Path, name: str, share: int, shares: int, budget: str, precision: Precision) -> None:
        super().__init__(folder, f"{name}-{share}", budget, precision)
        self.share, self.shares = share, shares

    def train(self, trials: Sequence[Trial], *seeds: int) -> None:
        """Train the trials with this process's seeds, and wait for those of the others."""
        own = [seed for seed in seeds if seed % self.shares == self.share]
        # Each process begins elsewhere: what one has compiled the others find in the cache.
        first = self.share * len(trials) // self.shares
        for seed in own:
            for trial in [*trials[first:], *trials[:first]]:
                self._known_or_trained(trial, seed)
        missing = [(trial, seed) for trial in trials for seed in seeds if seed not in own]
        patient_until = time.monotonic() + PATIENCE
        while missing := [(trial, seed) for trial, seed in missing if seed not in trial.accuracy]:
            done = [(trial, seed) for trial, seed in missing if is_done(self.spec(trial, seed), self.recorder)]
            late = missing[:1] if time.monotonic() > patient_until else []
            for trial, seed in done or late:
                self._known_or_trained(trial, seed)
                patient_until = time.monotonic() + PATIENCE
            time.sleep(0 if done else 0.5)

    def _known_or_trained(self, trial: Trial, seed: int) -> None:
        if seed not in trial.accuracy:
            self._train(trial, seed)

    def mean(self, trial: Trial, seeds: Iterable[int] = CHOOSING) -> float:
        """The mean of a trial over some seeds; below any accuracy if one is missing."""
        found = [trial.accuracy.get(seed, -1.0) for seed in seeds]
        return sum(found) / len(found) if min(found) >= 0 else -1.0

    def look(self, stage: str, trial: Trial) -> None:
        """Train what was chosen on all training images, and judge it by the test images."""
        print(f"{stage}: one look at the test images, {trial.label}", flush=True)
        self.choose(stage, [trial])
        self.train([self.trial(stage, trial.recipe, trial.changes, split="final")], *LOOK)


def record(tuning: Shared) -> None:
    """The stages of `record`."""
    epochs = 2 if tuning.small else 5
    tuning.train([tuning.trial("control6", "fast", {"epochs": epochs + 1}, "control")], *CHOOSING)
    tries = tries_of(tuning, "ideas5", {"epochs": epochs}, IDEAS)
    control = tries[0]
    tuning.train(tries, *CHOOSING)
    ranked = sorted(tries[1:], key=lambda trial: (-tuning.mean(trial), trial.note))
    kept = ranked[0]
    for other in [trial for trial in ranked[1:] if tuning.mean(trial) > tuning.mean(control)][:MOST_ADDED]:
        if kept.changes | other.changes != other.changes | kept.changes:
            continue  # the two say different things of one setting
        both = tuning.trial("combined5", "fast", kept.changes | other.changes, f"{kept.note} + {other.note}")
        tuning.train([both], *CHOOSING)
        kept = max(kept, both, key=tuning.mean)
    tuning.train([kept, control], *FRESH)
    fresh = tuning.mean(kept, FRESH)
    print(f"kept: {kept.label}; {fresh:.4f}, and `fast` {tuning.mean(control, FRESH):.4f}", flush=True)
    if tuning.small or fresh >= RECORD_BAR:
        tuning.look("look5", kept)


def dropout(tuning: Shared) -> None:
    """The stages of `dropout`."""
    usual = DROPOUT.changes | ({"epochs": 2} if tuning.small else {})
    tries = tries_of(tuning, "dropout16", usual, WITH_DROPOUT)
    control = tries[0]
    tuning.train(tries, *CHOOSING)
    better = [trial for trial in tries[1:] if tuning.mean(trial) > tuning.mean(control)]
    if len(better) > 1:
        changes = {name: value for trial in better for name, value in trial.changes.items()}
        tries.append(tuning.trial("dropout16", "fast", changes, " + ".join(trial.note for trial in better)))
        tuning.train(tries[-1:], *CHOOSING)
    best = max(tries, key=tuning.mean)
    print(f"best: {best.label}, {tuning.mean(best):.4f}", flush=True)
    if tuning.small or tuning.mean(best) >= DROPOUT_BAR:
        tuning.look("look16", best)


def tries_of(tuning: Shared, stage: str, usual: dict[str, Any], ideas: dict[str, dict[str, Any]]) -> list[Trial]:
    """Return the trial of some settings, the control, and one of each idea added to them."""
    # Few where little is trained.
    some = list(ideas.items())[: 3 if tuning.small else None]
    added = [tuning.trial(stage, "fast", usual | idea, name) for name, idea in some]
    return [tuning.trial(stage, "fast", usual, "control"), *added]


STUDIES = {"record": record, "dropout": dropout}


def main() -> int:
    """Try. Returns the exit status."""
    folder, name, share = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    shares = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    return in_the_environment(
        lambda budget, precision: STUDIES[name](Shared(folder, name, share, shares, budget, precision))
    )


if __name__ == "__main__":
    sys.exit(main())
