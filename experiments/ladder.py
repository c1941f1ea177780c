"""Which changes make 200 epochs into 8?

`published` and `fast` train the same network. They differ in nine settings, and each is a rung of a ladder here. Nine
variants are `fast` with one rung taken back to what `published` has: what the rung is worth when all others are there.
"up to ..." is `published` with this rung and all above it as `fast` has them: the way from one to the other. All get
the epochs of the budget, so "published" is `published` stopped early, not its 200 epochs.

Prediction, written before the run: at `quick`, `fast` with Adam loses at least 5 points, with dropout 0.5 at least 20,
with a constant rate at least 2. Without flips, shifts, label smoothing or weight decay it is equivalent at this size,
each within half a point. "published" learns nothing in eight epochs of 5,000 images: at least 40 points.

    make ladder
    harness run ladder --budget quick --seeds 10
"""

from typing import Any

from harness.experiment import Experiment, Prediction
from harness.recipes import RECIPES

#: From top to bottom: what `fast` has, what `published` has instead, and the settings in which that shows.
RUNGS = {
    "dropout 0": ("dropout 0.5", ("dropout",)),
    "norm before": ("norm after", ("normalization_place",)),
    "Muon": ("Adam", ("optimizer", "learning_rate", "momentum")),
    "weight decay": ("no weight decay", ("weight_decay",)),
    "one cycle": ("constant rate", ("schedule", "warmup")),
    "flips": ("no flips", ("flip",)),
    "shifts": ("no shifts", ("shift",)),
    "label smoothing": ("no label smoothing", ("label_smoothing",)),
    "norm momentum 0.9": ("norm momentum 0.99", ("normalization_momentum",)),
}


def taken_back(*rungs: str) -> dict[str, Any]:
    """Return the changes that give `fast` the settings that `published` has in these rungs."""
    settings = [setting for rung in rungs for setting in RUNGS[rung][1]]
    network, recipe = RECIPES["published"]
    return {name: getattr(network if hasattr(network, name) else recipe, name) for name in settings}


names = list(RUNGS)
experiment = Experiment(
    variants={
        **{back: taken_back(name) for name, (back, _) in RUNGS.items()},
        "published": taken_back(*names),
        # The last one would be `fast`, and the one before it is the last of those above.
        **{f"up to {name}": taken_back(*names[place + 1 :]) for place, name in enumerate(names[:-2])},
    },
    predictions=(
        Prediction("dropout 0.5", "worse", by=0.20),
        Prediction("Adam", "worse", by=0.05),
        Prediction("constant rate", "worse", by=0.02),
        *(Prediction(f"no {name}", "equivalent") for name in ("weight decay", "flips", "shifts", "label smoothing")),
        Prediction("published", "worse", by=0.40),
    ),
    mechanism=("dead", "gradient_norm"),
)
