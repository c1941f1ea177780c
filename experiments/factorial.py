"""Do scaling, normalization and activation act by themselves, or does one make up for another?

The notebook explains each by itself. But a batch normalization behind the first convolution undoes the scale of its
input, and one before each activation keeps sigmoids where their derivative is large. So: all eight combinations of
standardised or raw inputs, batch norm or none, ReLU or sigmoid, with main effects and interactions.

Prediction, written before the run: raw inputs cost nothing where there is batch norm, and at least 10 points where
there is none; sigmoid without batch norm does not learn at all at this depth (at least 20 points). The largest
interaction is normalization x activation or scaling x normalization; none of the main effects stands for itself.

Under `classic`, whose steps do go by the size of the gradient, written before its runs at `quick`: sigmoid without
batch norm stays at chance in every seed (one had been seen: 0.10), raw inputs without batch norm diverge or stay at
chance, and batch norm is worth at least 5 points with ReLU.

    make factorial
    harness run factorial --budget quick
"""

from harness.experiment import Prediction, factorial

experiment = factorial(
    {
        "scaling": ("input_scaling", "raw"),
        "norm": ("normalization", "none"),
        "relu": ("activation", "sigmoid"),
    },
    predictions=(
        Prediction("no scaling", "equivalent"),
        Prediction("no scaling + no norm", "worse", by=0.10),
        Prediction("no norm + no relu", "worse", by=0.20),
        Prediction("no norm", "worse", by=0.05, recipe="classic"),
        Prediction("no scaling + no norm", "stuck", recipe="classic"),
        Prediction("no norm + no relu", "stuck", recipe="classic"),
    ),
    mechanism=("gradient_ratio", "saturated", "dead"),
)
