"""Accuracies and their differences as text: rounded here alone, so that a number reads the same in every place."""

from decimal import ROUND_HALF_UP, Decimal

#: Accuracies are counts over thousands of images. What a float has behind so many decimals is an error of its
#: arithmetic, which must not decide how a number that ends in 5 is rounded.
EXACT = 7

Interval = tuple[float, float] | None


def to_text(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with so many decimals; one half is rounded away from zero, and zero has the sign +."""
    exact = Decimal(f"{value:.{EXACT}f}").quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{exact + 0:{'+' if signed else ''}.{decimals}f}"


def accuracy(share: float, interval: Interval = None, between: str = " ") -> str:
    """An accuracy, or another share, with its interval: `0.8698 [0.8685, 0.8711]`."""
    return _with_interval(to_text(share, 4), interval and (to_text(interval[0], 4), to_text(interval[1], 4)), between)


def point(share: float) -> str:
    """A difference of accuracies in points: `-3.55`."""
    # Of the share, as a hundred times it has an error a hundred times as large.
    return to_text(100 * round(share, EXACT), 2, signed=True)


def points(share: float, interval: Interval = None, between: str = " ") -> str:
    """The same with its interval: `-3.55 [-8.33, +1.22]`."""
    return _with_interval(point(share), interval and (point(interval[0]), point(interval[1])), between)


def in_points(share: float, interval: Interval = None) -> str:
    """The same in a sentence: `-3.55 points [-8.33, +1.22]`."""
    return _with_interval(f"{point(share)} points", interval and (point(interval[0]), point(interval[1])), " ")


def span(interval: tuple[float, float]) -> str:
    """An interval of differences in a sentence: `-8.33 to +1.22`."""
    return f"{point(interval[0])} to {point(interval[1])}"


def _with_interval(text: str, ends: tuple[str, str] | None, between: str) -> str:
    return f"{text}{between}[{ends[0]}, {ends[1]}]" if ends else text
