"""How much dropout does this network need, where, and must it be there from the start?

The notebook has dropout 0.5 behind each of the three blocks and behind the dense layer, and says nothing of why.

Prediction, written before the run: a training this short still underfits, so any dropout costs accuracy, and the more
the worse: 0.5 at least 10 points, 0.75 at least 20. Ramped up from 0 the same rates cost less (0.5 at least 3). Most of
it is lost in the convolution blocks; 0.5 behind the dense layer alone costs at least 2.

    make ablate-dropout
    harness run ablate_dropout --budget quick
"""

from harness.experiment import Experiment, Prediction

RATES = (0.1, 0.25, 0.5, 0.75)

experiment = Experiment(
    variants={
        **{f"{rate}": {"dropout": (rate,) * 4} for rate in RATES},
        **{f"{rate} ramped": {"dropout": (rate,) * 4, "dropout_ramp": True} for rate in RATES},
        "0.5 in blocks": {"dropout": (0.5, 0.5, 0.5, 0)},
        "0.5 in dense": {"dropout": (0, 0, 0, 0.5)},
    },
    predictions=(
        Prediction("0.5", "worse", by=0.10),
        Prediction("0.75", "worse", by=0.20),
        Prediction("0.5 ramped", "worse", by=0.03),
        Prediction("0.5 in dense", "worse", by=0.02),
    ),
    mechanism=("dead", "gradient_norm"),
)
