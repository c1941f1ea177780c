"""Numbers are rounded in one way, whichever way they were computed."""

import numpy as np
import pytest

from harness.common.rounded import accuracy, in_points, point, points, span, to_text


@pytest.mark.parametrize("share", [-0.09075, float(np.float32(-0.09075)), -0.09075 + 1e-12, 0.26775 - 0.3585])
def test_one_half_goes_away_from_zero_whatever_the_arithmetic_left_behind_it(share: float) -> None:
    assert point(share) == "-9.08"


def test_accuracies_and_differences_as_text() -> None:
    assert accuracy(0.32295) == "0.3230"
    assert accuracy(0.8698, (0.8685, 0.87105)) == "0.8698 [0.8685, 0.8711]"
    assert points(-0.0355, (-0.0833, 0.0122), "\n") == "-3.55\n[-8.33, +1.22]"
    assert in_points(0.0) == "+0.00 points"
    assert in_points(0.01, (0.0, 0.02)) == "+1.00 points [+0.00, +2.00]"
    assert span((-0.0833, 0.0122)) == "-8.33 to +1.22"
    # No -0.00: it would say which side of zero a number is on that is on neither.
    assert to_text(-0.001, 2, signed=True) == "+0.00"
    assert to_text(-0.001, 2) == "0.00"
