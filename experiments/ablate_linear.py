"""What is left of the network when nothing in it is non-linear?

The notebook: activations are there "to introduce non-linearity into the model". But a network without activations still
has three max-pooling layers, and a maximum is not linear either. Only with average pooling the network is one linear
map of its input (batch normalization is linear, too, once its statistics are fixed).

Prediction, written before the run: at `quick`, without activations and with average pooling accuracy falls by at least
20 points; with max-pooling by at least 2 and less than 10; average pooling with ReLU is not worse. It is not blind: one
seed each had been seen at this size (0.40, 0.66 and 0.73, against 0.71), and seven at `full` under `fast`. Under
`classic` the same signs.

    make ablate-linear
    harness run ablate_linear --budget quick --recipe classic --set learning_rate=0.05
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={
        "linear": {"activation": "linear"},
        "average pooling": {"pooling": "average"},
        "linear, average pooling": {"activation": "linear", "pooling": "average"},
    },
    predictions=(
        Prediction("linear", "worse", by=0.02),
        Prediction("linear, average pooling", "worse", by=0.20),
        Prediction("linear", "worse", recipe="classic"),
        Prediction("linear, average pooling", "worse", recipe="classic"),
    ),
    mechanism=("gradient_ratio", "activation_std"),
)
