"""Claims, and what the runs say of them: the published numbers, and the predictions of an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.design import Design
from harness.analysis.stats import MARGIN, Compared, Interval, one_sample
from harness.common.rounded import in_points
from harness.experiment import Prediction

Score = Literal["supported", "refuted", "undecided"]

TargetVerdict = Literal[
    "exceeds", "undecided", "below", "not enough runs for a verdict", "exploratory", "not compared",
    "none: a run diverged",
]  # fmt: skip


@dataclass(frozen=True)
class AgainstTarget:
    """Seeds against a fixed target, in the unit of the values. `interval` is the 95 % interval of the mean.

    `exceeds` and `below` say where all of the interval is, whichever way is better, and `p` is two-sided: below 0.05
    exactly there; where the seeds are not a look of the design there is no p. With one seed, `sd`, `interval` and `p`
    are None. Two verdicts are given by a report: "not compared"
    where the target says nothing about such runs, and "none: a run diverged" where the mean is of the other seeds
    alone.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None
    verdict: TargetVerdict


def against_target(values: Sequence[float], target: float, design: Design) -> AgainstTarget:
    """The mean's interval against the target. Runs that are all equal have none: a t test needs some spread."""
    apart = one_sample([value - target for value in values], design)
    interval = apart.interval and (apart.interval[0] + target, apart.interval[1] + target)
    verdict: TargetVerdict = "not enough runs for a verdict"
    if design.exploratory:
        verdict = "exploratory"
    elif interval and apart.p is not None:
        verdict = "exceeds" if interval[0] > target else "below" if interval[1] < target else "undecided"
    return AgainstTarget(apart.n, apart.mean + target, apart.sd, interval, apart.p, verdict)


def claims(prediction: Prediction) -> tuple[float, ...]:
    """The differences that separate where a prediction is right from where it is wrong; none for `stuck`, a count."""
    if prediction.direction == "stuck":
        return ()
    if prediction.direction == "equivalent":
        return -MARGIN, MARGIN
    return (-prediction.by if prediction.direction == "worse" else prediction.by,)


def score(prediction: Prediction, compared: Compared) -> tuple[Score, str]:
    """Whether a prediction was supported, refuted or neither, and because of which numbers.

    Supported: all of the interval of the difference is as predicted. Refuted: none of it is. A comparison without a
    verdict for want of seeds, or because they were added later, scores nothing.
    """
    interval = compared.interval
    numbers = in_points(compared.mean, interval)
    if interval:
        numbers += f", n = {compared.n}, verdict {compared.verdict}"
    outcome: Score = "undecided"
    if prediction.direction == "stuck":
        numbers += f"; {compared.failed} of {compared.n} stuck or diverged"
        if compared.verdict not in ("too few seeds", "exploratory"):
            outcome = "supported" if compared.failed == compared.n else "refuted"
    elif interval and compared.verdict not in ("too few seeds", "exploratory"):
        outcome = score_of(prediction, interval)
        if outcome == "undecided":
            numbers += f"; its interval also allows {_otherwise(prediction)}"
    return outcome, f"predicted {wanted(prediction)}; measured {numbers}"


def wanted(prediction: Prediction) -> str:
    """What is predicted, as text: `worse by at least 5 points`."""
    return prediction.direction + (f" by at least {_size(prediction)}" if prediction.by else "")


def _size(prediction: Prediction) -> str:
    return f"{prediction.by * 100:g} point{'s' * (prediction.by != 0.01)}"


def _otherwise(prediction: Prediction) -> str:
    """What is not predicted, as text: `less than 5 points`."""
    if prediction.direction == "equivalent":
        return f"more than {MARGIN * 100:g} points"
    return f"less than {_size(prediction)}" if prediction.by else "none"


def score_of(prediction: Prediction, interval: Interval) -> Score:
    """Whether all of an interval of the difference is as predicted, none of it, or neither."""
    (low, high), by = interval, prediction.by
    if prediction.direction == "equivalent":
        supported, refuted = low > -MARGIN and high < MARGIN, low > MARGIN or high < -MARGIN
    else:
        # The differences in the predicted direction.
        least, most = (-high, -low) if prediction.direction == "worse" else (low, high)
        # A difference of the predicted size is as predicted; without one, it has to be there at all.
        supported, refuted = (least >= by if by else least > 0), (most < by if by else most <= 0)
    return "supported" if supported else "refuted" if refuted else "undecided"
