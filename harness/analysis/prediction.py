"""What became of a prediction, once its variant is compared with the baseline."""

import math
from typing import Literal

from harness.analysis.stats import Compared
from harness.experiment import Prediction

Score = Literal["supported", "refuted", "inconclusive"]


def score(prediction: Prediction, compared: Compared) -> tuple[Score, str]:
    """Whether a prediction was supported, refuted or neither, and because of which numbers.

    Supported: the verdict is the predicted one, and the mean difference at least the predicted size. Refuted: the
    95 % interval of the difference holds no value that was predicted, or the verdict contradicts the predicted one.
    """
    low, high = compared.interval or (-math.inf, math.inf)
    verdict, mean, by = compared.verdict, compared.mean, prediction.by
    numbers = f"{mean * 100:+.2f} points"
    if compared.interval:
        numbers += f" [{low * 100:+.2f}, {high * 100:+.2f}], n = {compared.n}, verdict {verdict}"
    wanted = prediction.direction + (f" by at least {by * 100:g} point{'s' * (by != 0.01)}" if by else "")
    if prediction.direction == "equivalent":
        supported, refuted = verdict == "equivalent", verdict in ("better", "worse")
    else:
        # The difference in the predicted direction, and the largest value of it that the data allow.
        toward, most = (-mean, -low) if prediction.direction == "worse" else (mean, high)
        supported = verdict == prediction.direction and toward >= by
        refuted = compared.enough and (most < by or verdict in {"better", "worse"} - {prediction.direction})
    outcome: Score = "supported" if supported else "refuted" if refuted else "inconclusive"
    return outcome, f"predicted {wanted}; measured {numbers}"
