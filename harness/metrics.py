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
    "test_loss": Metric("nats", "cross-entropy on the test images"),
    "test_accuracy": Metric("", "share of the test images classified right, one view each"),
    "validation_loss": Metric("nats", "cross-entropy on the 5,000 images that the tune split holds out"),
    "validation_accuracy": Metric("", "share of those 5,000 images classified right"),
    "learning_rate": Metric("", "at the last step of the epoch"),
    "images_per_second": Metric("1/s", "training images over the time they took, evaluation excluded"),
    "epoch_seconds": Metric("s", "wall clock of the epoch, evaluation included"),
    "pflop": Metric("1e15 FLOP", "counted operations of all training so far; multiply-add = 2"),
}

FINAL = {
    "accuracy": Metric("", "share of the evaluation images classified right by the final model"),
    "cross_entropy": Metric("nats", "mean cross-entropy of the final model"),
    "training_seconds": Metric("s", "sum of the epochs' seconds"),
}
