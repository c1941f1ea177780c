"""Does the network need a non-linear activation, and is ReLU better than sigmoid because its gradient survives?

The notebook: activations are there "to introduce non-linearity into the model", and "ReLU is chosen to mitigate the
vanishing gradient problem": its derivative is larger than the sigmoid's, so the product over the layers "will
decrease slower".

Prediction, written before the run: linear (no activation at all) costs at least 5 points, sigmoid at least 10, tanh
at least 2; GELU and SiLU are equivalent to ReLU. If the vanishing gradient is the reason, `gradient_ratio` (first
over last convolution) must be far below ReLU's for sigmoid; but batch normalization stands before every activation
here, and should keep it from vanishing. Under `classic` (plain SGD), written before its runs at `quick`: tanh is worse,
by at least 2 points.

    make ablate-activation
    harness run ablate_activation --budget quick
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={name: {"activation": name} for name in ("sigmoid", "tanh", "linear", "gelu", "silu")},
    predictions=(
        Prediction("sigmoid", "worse", by=0.10),
        Prediction("tanh", "worse", by=0.02),
        Prediction("linear", "worse", by=0.05),
        Prediction("gelu", "equivalent"),
        Prediction("silu", "equivalent"),
        Prediction("tanh", "worse", by=0.02, recipe="classic"),
    ),
    mechanism=("gradient_ratio", "saturated", "dead"),
)
