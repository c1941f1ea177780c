"""The most confident wrong predictions of a run, as pictures."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from harness.data import Dataset
from harness.plan import images_of
from harness.runs.spec import RunResult

#: So many of a run are shown.
SHOWN = 12


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction. `picture` is the image as a data URI, `probability` that of the predicted class."""

    picture: str
    true: str
    predicted: str
    probability: float


def mistakes(result: RunResult, dataset: Dataset) -> list[Mistake]:
    """The most confident wrong predictions of a run, the most confident first.

    Empty if the run did not keep its probabilities, or had other images than this data set's.
    """
    config, kept = result.spec.config, result.folder.probabilities()
    if config.data_fingerprint != dataset.fingerprint or kept is None:
        return []
    probabilities = kept.astype(np.float32)
    images = images_of(config, dataset)
    if len(probabilities) != len(images.eval_labels):
        return []
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != images.eval_labels)
    # The lower index of two that are equally sure: the same pictures every time.
    chosen = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:SHOWN]
    names = images.class_names
    return [
        Mistake(
            _data_uri(images.eval_images[index]),
            names[images.eval_labels[index]],
            names[predicted[index]],
            float(probabilities[index, predicted[index]]),
        )
        for index in chosen
    ]


def _data_uri(image: np.ndarray) -> str:
    """image: uint8 [height, width, 3]."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
