"""What a run is judged by: calibration, the images of a curve, and which images were right."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import Split
from harness.engine.loop import calibration_error, curve_images
from harness.runs.records import packed, unpacked


def test_a_network_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    labels = np.zeros(10, int)
    sure = np.tile([0.8, 0.2], (10, 1))
    sure[:2] = [0.2, 0.8]  # right in 8 of 10
    assert calibration_error(sure, labels) == pytest.approx(0)
    # Right in all, and in none.
    assert calibration_error(np.tile([0.8, 0.2], (10, 1)), labels) == pytest.approx(0.2)
    assert calibration_error(np.tile([0.2, 0.8], (10, 1)), labels) == pytest.approx(0.8)


def test_errors_of_different_bins_do_not_cancel() -> None:
    # One too sure by 0.9, one not sure enough by 0.4: on average they are off by 0.25, not sqrt or 0.65.
    outputs = np.array([[0.1, 0.9], [0.6, 0.4]])
    assert calibration_error(outputs, np.zeros(2, int)) == pytest.approx((0.9 + 0.4) / 2)
    assert calibration_error(np.array([[1.0, 0.0]]), np.zeros(1, int)) == 0


@pytest.mark.parametrize(("train", "judged"), [(128, 2_000), (5_000, 2_000), (10_000, 2_500), (50_000, 10_000)])
def test_judging_a_curve_takes_little_beside_training(small_split: Split, train: int, judged: int) -> None:
    images = np.zeros((1, 1, 1, 1), np.uint8)
    split = dataclasses.replace(
        small_split, train_images=np.broadcast_to(images, (train, 1, 1, 1)),
        eval_images=np.broadcast_to(images, (10_000, 1, 1, 1)),
    )  # fmt: skip
    assert curve_images(split) == judged
    assert curve_images(dataclasses.replace(split, eval_images=split.eval_images[:100])) == 100


@given(st.lists(st.booleans(), max_size=50))
def test_which_images_were_right_comes_back_from_text(right: list[bool]) -> None:
    assert unpacked(packed(np.array(right, bool)), len(right)).tolist() == right
