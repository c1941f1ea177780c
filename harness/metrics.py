"""Every measured quantity: its name, unit and meaning. Tracking, reports and the README use these names."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """`unit` is empty for a pure number."""

    unit: str
    meaning: str


PER_EPOCH = {
    "train_loss": Metric("nats", "cross-entropy while training: with dropout, augmentation and label smoothing"),
    "train_accuracy": Metric("", "share right while training, with dropout and augmentation"),
    # With few training images, only the last epoch is judged on all of these (engine/loop.py).
    "test_loss": Metric("nats", "cross-entropy on the test images"),
    "test_accuracy": Metric("", "share of the test images classified right, one view each"),
    "validation_loss": Metric("nats", "cross-entropy on the 5,000 images that the tune split holds out"),
    "validation_accuracy": Metric("", "share of those 5,000 images classified right"),
    "learning_rate": Metric("", "at the last step of the epoch"),
    "images_per_second": Metric("1/s", "training images over the time they took, evaluation excluded"),
    "epoch_seconds": Metric("s", "wall clock of the epoch, evaluation included"),
    "pflop": Metric("1e15 FLOP", "counted operations of all training so far; multiply-add = 2"),
}

#: Measured inside the network after each epoch (harness/engine/probes.py), most of them layer by layer: in a history
#: and in MLflow they are called "name/layer".
INSIDE = {
    "gradient_norm": Metric("", "norm of the loss gradient of a layer's kernel"),
    "gradient_ratio": Metric(
        "", "gradient norm at the first convolution over that at the last: small where it vanishes"
    ),
    "gradient_change": Metric(
        "", "how far a layer's gradient moves when the layers below take the epoch's first step, over its norm"
    ),
    "gradient_cosine": Metric("", "the cosine between the layer's gradients before and after that step"),
    "input_drift": Metric(
        "sd",
        "how far the distribution of a layer's inputs, standardised for each channel, moved in the epoch (Wasserstein)",
    ),
    "activation_mean": Metric("", "mean of a layer's activations"),
    "activation_std": Metric("", "standard deviation of a layer's activations"),
    "dead": Metric("", "share of a layer's ReLU units or channels that are positive nowhere"),
    "saturated": Metric("", "share of sigmoid or tanh activations within 5 % of the range of an asymptote"),
    "probe_seconds": Metric("s", "what looking inside took, beside the epoch's seconds"),
}

#: What the measures of earlier code meant, by the hash of that code, where it is not what they mean now: nothing, if
#: measures were added since and the others stayed what they were.
EARLIER = {
    "b2d2155ea0bc": {
        "gradient_change": "how far the gradient moved when the layers below took the epoch's mean update, over its "
        "norm, for three layers",
        "input_drift": "how far the mean of a layer's inputs moved in the epoch, in sd, averaged over the channels. "
        "Batch norm fixes these means, so this says nothing about covariate shift",
    }
}

FINAL = {
    "accuracy": Metric("", "share of the evaluation images classified right by the final model"),
    "cross_entropy": Metric("nats", "mean cross-entropy of the final model"),
    "calibration_error": Metric("", "expected calibration error: mean distance of confidence and accuracy in 15 bins"),
    "training_seconds": Metric("s", "sum of the epochs' seconds"),
}
