"""When a comparison is looked at, and what that costs: O'Brien-Fleming boundaries (1979) for declared looks.

With n of N seeds, the statistic of a mean is Brownian motion at time n / N. The bounds are C / sqrt(n / N): wide at an
early look, and almost those of a single one at the last. So a p value is the chance that Brownian motion without drift
is ever, at one of the looks, as far out as it is now. It may be read at each look, whatever made one stop there
(repeated p values and intervals, Jennison & Turnbull 1989).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from scipy import optimize, special
else:
    optimize = lazy_import("scipy.optimize")
    special = lazy_import("scipy.special")

#: Beyond this many standard deviations, the chances at the single looks add up to that of any to ten digits.
FAR = 7.0

#: Points of Gauss-Legendre quadrature: the chances are right to 1e-12.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)


@dataclass(frozen=True)
class Design:
    """The seeds of a family in their order, and after how many of them it is looked at. One look is a fixed number.

    looks: rising numbers of seeds, the last of which is all of them; `p` and `quantile` take one of these. exploratory:
    the seeds were chosen after some of their results were known, so there is neither p nor verdict.
    """

    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    exploratory: bool = False

    def p(self, t: float, freedom: float, look: int) -> float:
        """The two-sided p value of a t statistic with so many degrees of freedom at a look (its number of seeds)."""
        z = -float(special.ndtri(special.stdtr(freedom, -abs(float(t)))))
        return _ever_outside(z * math.sqrt(look / self.looks[-1]), self.looks)

    def quantile(self, alpha: float, freedom: float, look: int) -> float:
        """The t statistic whose p value at this look is alpha: half the length of an interval, in standard errors."""
        z = _bound(alpha, self.looks) / math.sqrt(look / self.looks[-1])
        return -float(special.stdtrit(freedom, float(special.ndtr(-z))))


def fixed(seeds: Sequence[int], *, exploratory: bool = False) -> Design:
    """The design with a single look, after all of these seeds."""
    return Design(tuple(seeds), (len(seeds),), exploratory)


def _ever_outside(x: float, looks: tuple[int, ...]) -> float:
    """The chance that Brownian motion on [0, 1] is at least x away from zero at any of the looks."""
    times = np.array(looks) / looks[-1]
    if x > FAR:
        return min(1.0, float(2 * special.ndtr(-x / np.sqrt(times)).sum()))
    if x == 0:
        return 1.0
    nodes, weights = x * NODES, x * WEIGHTS
    # The density of the paths that have stayed inside so far, from look to look.
    density = _normal_density(nodes, times[0])
    for step in np.diff(times):
        density = _normal_density(nodes[:, None] - nodes, step) @ (weights * density)
    return max(0.0, float(1 - weights @ density))


def _normal_density(x: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(x**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@lru_cache
def _bound(alpha: float, looks: tuple[int, ...]) -> float:
    """O'Brien and Fleming's C: Brownian motion is ever outside +-C with a chance of alpha."""
    return float(optimize.brentq(lambda x: _ever_outside(x, looks) - alpha, 0.01, 40))
