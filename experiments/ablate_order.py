"""Should batch normalization stand before or after the activation?

The notebook does not say which it does ("Relu activation with Batch Normalization"). The recipe `fast` normalizes
before the activation, as Ioffe & Szegedy 2015 do, and `published` after it, which is a guess from the notebook's curve;
the variant that is the recipe's own order is left out.

Prediction, written before the run: behind the activation is equivalent, within half a point. Of `published` with batch
norm in front none was written: it had been seen to learn far less when that recipe was fitted.

    make ablate-order
    harness run ablate_order --budget quick
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={
        "norm after": {"normalization_place": "after"},
        "norm before": {"normalization_place": "before"},
    },
    predictions=(Prediction("norm after", "equivalent"),),
    mechanism=("dead", "gradient_ratio"),
)
