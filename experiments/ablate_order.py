"""Should batch normalization stand before or after the activation?

The notebook does not say which it does ("Relu activation with Batch Normalization"). The baseline here normalizes
before the activation, as Ioffe & Szegedy 2015 do.

Prediction, written before the run: equivalent, within half a point.

    make ablate-order
    harness run ablate_order --budget quick --seeds 10
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={"norm after": {"normalization_place": "after"}},
    predictions=(Prediction("norm after", "equivalent"),),
    mechanism=("dead", "gradient_ratio"),
)
