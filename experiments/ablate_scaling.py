"""Must the inputs be scaled, because large inputs make the gradient vanish?

The notebook: "if input data is too big, the derivatives of the functions w.r.t the inputs will be close to zero [see
sigmoid, tanh]", which "will cause slower weight updates hence leading to slower convergence".

That is about sigmoid and tanh. This network has ReLU, and batch normalization behind every convolution; `factorial` has
the scalings with sigmoid and without batch normalization too.

Prediction, written before the run: with ReLU and with batch normalization behind the first convolution, raw pixels
(0-255) and unit pixels (0-1) are equivalent to standardised ones; a normalization undoes whatever factor its input
came with. `factorial` asks the same without batch normalization and with sigmoid.

    make ablate-scaling
    harness run ablate_scaling --budget quick
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    variants={"raw 0-255": {"input_scaling": "raw"}, "unit 0-1": {"input_scaling": "unit"}},
    predictions=(Prediction("raw 0-255", "equivalent"), Prediction("unit 0-1", "equivalent")),
    mechanism=("gradient_ratio", "dead", "activation_std"),
)
