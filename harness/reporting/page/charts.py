"""The charts of a page as numbers: the template only writes down what stands here as SVG.

A chart of lines is drawn on a canvas of its own size, which scales with the page. A forest plot has no canvas: places
are per cent of the width that there is, so that its text stays readable on a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from harness.analysis import MARGIN
from harness.common.rounded import points
from harness.reporting.curves import distinct_colours
from harness.reporting.forest import Line, is_shown
from harness.reporting.tables import margin

#: Around the canvas of a chart, in its units: for the labels.
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 42

#: Between two labels of an axis: one, two or five of some power of ten.
STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Series:
    """A named line through points (x, y). `band`: (x, lowest, highest). `marked` is an x with a ring around it."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    colour: str = ""
    dashed: bool = False
    marked: float | None = None


@dataclass(frozen=True)
class Tick:
    """A label of an axis; `at` is a place on the canvas, or in per cent in a forest plot."""

    at: float
    label: str


@dataclass(frozen=True)
class Drawn:
    """A series on the canvas: SVG paths, and the places of its points and of the marked one."""

    name: str
    colour: str
    dashed: bool
    path: str
    area: str
    dots: list[tuple[float, float, str]]
    ring: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """A chart of lines, ready to be written down."""

    title: str
    width: float
    height: float
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Drawn]


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    x_names: Sequence[str] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    size: tuple[float, float] = (480, 300),
) -> Chart:
    """A chart of at least one point. x_names: what stands at x = 0, 1, ... instead of numbers.

    x_range, y_range: what the axes show at least; None is what the series need. The y axis ends at labels.
    """
    width, height = size
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    ys += [end for each in series for _, *ends in each.band for end in ends]
    low_x, high_x = x_range or (min(xs), max(xs))
    low_y, high_y = y_range or (min(ys), max(ys))
    x = _Axis(low_x, high_x, LEFT, width - RIGHT, log_x)
    y_values = _labelled(low_y, high_y, log_y)
    y = _Axis(y_values[0], y_values[-1], height - BOTTOM, TOP, log_y)
    if x_names:
        x_ticks = [Tick(x(number), name) for number, name in enumerate(x_names)]
    elif log_x and len(values := sorted(set(xs))) <= 8:
        # The rates that were tried, and not the powers of ten between them.
        x_ticks = [Tick(x(value), f"{value:.2g}") for value in values]
    else:
        x_ticks = [Tick(x(value), f"{value:.6g}") for value in _labelled(*x.ends, log_x, whole=True) if x.shows(value)]
    colours = distinct_colours(len(series))
    drawn = [_draw(each, x, y, each.colour or colour) for each, colour in zip(series, colours, strict=True)]
    y_ticks = [Tick(y(value), f"{value:.6g}") for value in y_values]
    return Chart(title, width, height, x_label, y_label, x_ticks, y_ticks, drawn)


def _labelled(low: float, high: float, log: bool, *, whole: bool = False) -> list[float]:
    """The numbers that stand at an axis, from the last one that is not above `low` to the first not below `high`."""
    if not log:
        return list(MaxNLocator(nbins=6, integer=whole, steps=STEPS).tick_values(low, high))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step, between = max(1, (last - first + 1) // 6), (1, 2, 5) if last - first < 3 else (1,)
    powers = range(step * (first // step), last + step, step)
    values = [part * 10.0**power for power in powers for part in between]
    start = max(number for number, value in enumerate(values) if value <= low * (1 + 1e-9))
    end = min(number for number, value in enumerate(values) if value >= high * (1 - 1e-9))
    return values[start : max(end, start + 1) + 1]


class _Axis:
    """From numbers to places on the canvas."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool) -> None:
        self.log, self.ends = log, (low, high)
        self._from, self._to = self._scaled(low), self._scaled(high)
        if self._from == self._to:
            self._from, self._to = self._from - 0.5, self._to + 0.5
        self._start, self._end = start, end

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        share = (self._scaled(value) - self._from) / (self._to - self._from)
        return round(self._start + share * (self._end - self._start), 1)

    def shows(self, value: float) -> bool:
        low, high = sorted((self._from, self._to))
        return low - 1e-9 <= self._scaled(value) <= high + 1e-9


def _draw(series: Series, x: _Axis, y: _Axis, colour: str) -> Drawn:
    places = [(x(a), y(b), f"{series.name}: {b:.4g}") for a, b in series.points]
    band = [(x(a), y(low), y(high)) for a, low, high in series.band]
    there, back = [f"{a},{high}" for a, _, high in band], [f"{a},{low}" for a, low, _ in reversed(band)]
    ring = next(((x(a), y(b)) for a, b in series.points if a == series.marked), None)
    path = "M" + " L".join(f"{a},{b}" for a, b, _ in places)
    area = "M" + " L".join([*there, *back]) + "Z" if band else ""
    return Drawn(series.name, colour, series.dashed, path, area, places if len(places) < 13 else [], ring)


@dataclass(frozen=True)
class ForestRow:
    """A difference: its places in per cent of the width (the ends are None without an interval), and its numbers."""

    name: str
    mark: str
    mean: float
    ends: tuple[float, float] | None
    numbers: str
    comment: str


@dataclass(frozen=True)
class Forest:
    """A forest plot, ready to be written down; `zero` and `margin` are places in per cent. `key` says what it shows."""

    title: str
    key: str
    rows: list[ForestRow]
    ticks: list[Tick]
    zero: float
    margin: tuple[float, float]


def forest(differences: Sequence[Line], title: str, key: str) -> Forest:
    """The differences, and the margin within which they count as none, on one linear axis."""
    ends = [100 * end for line in differences for end in (line.mean, *(line.interval or ()))]
    ends += [-150 * MARGIN, 150 * MARGIN]
    room = 0.04 * (max(ends) - min(ends))
    low, high = min(ends) - room, max(ends) + room

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    ticks = [value for value in MaxNLocator(nbins=6, steps=STEPS).tick_values(low, high) if low <= value <= high]
    rows = [
        ForestRow(
            line.name,
            line.mark,
            at(100 * line.mean),
            (at(100 * line.interval[0]), at(100 * line.interval[1])) if line.interval else None,
            points(line.mean, line.interval),
            line.comment,
        )
        for line in differences
    ]
    named = [Tick(at(value), f"{value:+g}" if value else "0") for value in ticks]
    if is_shown(low, high):
        key += f" Shaded: less than {margin()}, which counts as none."
    return Forest(title, key, rows, named, at(0.0), (at(-100 * MARGIN), at(100 * MARGIN)))
