"""Does the answer depend on how many images there are to learn from?

Answers from 500 images once stood in this project's README, and some were wrong: a linear network was "better", as it
learns faster in its first steps. So the same three networks at 500 to 10,000 images x 8 epochs, and at all images x 1.

Prediction, written before the run: the sign of "linear" (with max-pooling) turns. It is better than the baseline at 500
images, and worse at 5,000, by at least 2 points. It is not blind: it had +7 to +9 points at 500 images x 3 epochs, and
-4.7 at 5,000 x 8. Sigmoid without batch norm is worse by at least 5 points at every size. The predictions
below are scored at each size; that of "linear" is the one for 5,000 images.

    make size-curve                                        # all sizes
    harness run size_curve --budget quick:500              # one of them
    harness run size_curve --budget full --set epochs=1
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={
        "linear": {"activation": "linear"},
        "sigmoid, no norm": {"activation": "sigmoid", "normalization": "none"},
    },
    predictions=(
        Prediction("linear", "worse", by=0.02),
        Prediction("sigmoid, no norm", "worse", by=0.05),
    ),
    mechanism=("gradient_ratio", "dead"),
)
