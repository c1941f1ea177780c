"""Does batch normalization help, and because it mitigates covariate shift?

The notebook: "our target predictions will keep shifting depending on the input batch, an effect also known as
covariate shift. By normalizing the inputs, we help to mitigate this effect since all inputs will have the same
distribution".

Prediction, written before the run: without normalization accuracy falls by at least 5 points. Group normalization,
which mixes nothing over the batch, costs less than that but at least 1 point; layer normalization at least 2. If
covariate shift is the reason, `input_drift` must be larger without normalization than with it; Santurkar et al. 2018
found that it is not, and that `gradient_change` is no smaller either. (Both measures were mended on 2026-11-27, after
this was written and before the runs at `quick`: `input_drift` compared means, which batch norm fixes, and now compares
distributions; `gradient_change` followed the epoch's mean update, and now the optimizer's own step.)

    make ablate-bn
    harness run ablate_bn --budget quick
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={
        "no norm": {"normalization": "none"},
        "layer norm": {"normalization": "layer"},
        "group norm": {"normalization": "group"},
    },
    predictions=(
        Prediction("no norm", "worse", by=0.05),
        Prediction("layer norm", "worse", by=0.02),
        Prediction("group norm", "worse", by=0.01),
    ),
    mechanism=("input_drift", "gradient_change", "gradient_ratio"),
)
