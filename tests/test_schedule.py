"""Learning rate, dropout ramp, order and augmentation: pure functions of (seed, epoch, step)."""

import dataclasses
import itertools

import numpy as np
from conftest import SMALL_RECIPE
from hypothesis import given
from hypothesis import strategies as st

from harness.config import ShiftMode
from harness.engine import augment
from harness.engine.schedule import averaging_keep, dropout_ramp, learning_rates


def whole(function, recipe, steps):
    return np.concatenate([function(recipe, steps, epoch) for epoch in range(recipe.epochs)])


@given(st.integers(1, 20), st.integers(1, 50), st.floats(0, 0.9))
def test_one_cycle_rises_to_its_peak_once_and_falls(epochs: int, steps: int, warmup: float) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, epochs=epochs, warmup=warmup, learning_rate=0.5)
    rates = whole(learning_rates, recipe, steps)
    peak = int(rates.argmax())
    assert len(rates) == epochs * steps
    assert (rates > 0).all()
    assert rates.max() <= np.float32(0.5)
    assert (np.diff(rates[: peak + 1]) >= 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    if len(rates) - peak > 20:
        assert rates[-1] < 0.06 * rates.max()


def test_one_cycle_reaches_the_peak_at_the_end_of_the_warmup() -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, epochs=10, warmup=0.25, learning_rate=1.0)
    rates = whole(learning_rates, recipe, 40)
    assert rates[99] == 1.0
    assert rates[-1] == np.float32(1 / 301)


def test_one_cycle_ends_at_the_fraction_and_with_the_bend_that_are_asked_for() -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, epochs=10, warmup=0.25, learning_rate=1.0)
    plain = whole(learning_rates, recipe, 40)
    high = whole(learning_rates, dataclasses.replace(recipe, final_rate=0.2), 40)
    bent = whole(learning_rates, dataclasses.replace(recipe, decay_power=2.0), 40)
    for rates in (high, bent):
        assert np.array_equal(rates[:100], plain[:100])
    np.testing.assert_allclose(high[99:], 0.2 + 0.8 * plain[99:], rtol=1e-6)
    np.testing.assert_allclose(bent[99:], plain[99:] ** 2, rtol=1e-5)


def test_an_average_is_updated_at_its_interval_and_after_an_epoch_and_keeps_ever_more() -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, epochs=3, averaging_decay=0.8, averaging_interval=4)
    keep = whole(averaging_keep, recipe, 10)
    updates = np.flatnonzero(keep < 1) + 1
    assert updates.tolist() == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    np.testing.assert_allclose(keep[updates - 1], 0.8 * (updates / 30) ** 3, rtol=1e-6)


@given(st.integers(1, 10), st.integers(1, 30))
def test_constant_stays(epochs: int, steps: int) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, epochs=epochs, schedule="constant", warmup=0.0)
    assert (whole(learning_rates, recipe, steps) == np.float32(recipe.learning_rate)).all()


def test_ramp_rises_from_nothing_and_is_full_without_one() -> None:
    ramp = whole(dropout_ramp, SMALL_RECIPE, 10)
    assert ramp[0] == 0
    assert (np.diff(ramp) > 0).all()
    assert ramp[-1] < 1
    assert (whole(dropout_ramp, dataclasses.replace(SMALL_RECIPE, dropout_ramp=False), 10) == 1).all()


@given(st.integers(0, 2**31), st.integers(0, 300), st.integers(1, 400))
def test_an_epoch_sees_every_image_once_and_is_its_own_function(seed: int, epoch: int, images: int) -> None:
    plan = augment.epoch_plan(SMALL_RECIPE, seed, epoch, images)
    assert sorted(plan.order) == list(range(images))
    assert plan.shift.min() >= 0
    assert plan.shift.max() <= 2 * SMALL_RECIPE.shift
    again = augment.epoch_plan(SMALL_RECIPE, seed, epoch, images)
    assert all(np.array_equal(getattr(plan, f), getattr(again, f)) for f in ("order", "flip", "shift"))


def test_seeds_and_epochs_differ_and_augmentations_are_independent() -> None:
    def order(recipe, seed, epoch):
        return augment.epoch_plan(recipe, seed, epoch, 100).order.tolist()

    assert order(SMALL_RECIPE, 0, 0) != order(SMALL_RECIPE, 0, 1)
    assert order(SMALL_RECIPE, 0, 0) != order(SMALL_RECIPE, 1, 0)
    still = dataclasses.replace(SMALL_RECIPE, flip=False, shift=0)
    assert order(SMALL_RECIPE, 0, 0) == order(still, 0, 0)


def test_an_alternating_flip_is_drawn_once_for_an_image_and_then_inverted() -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, alternating_flip=True)

    def by_image(seed: int, epoch: int) -> np.ndarray:
        plan = augment.epoch_plan(recipe, seed, epoch, 1000)
        return plan.flip[np.argsort(plan.order)]

    flips = [by_image(0, epoch) for epoch in range(4)]
    assert 0.4 < flips[0].mean() < 0.6
    for one, next_one in itertools.pairwise(flips):
        assert np.array_equal(one, ~next_one)
    assert not np.array_equal(flips[0], by_image(1, 0))
    other = augment.epoch_plan(dataclasses.replace(recipe, alternating_flip=False), 0, 1, 1000)
    same = augment.epoch_plan(recipe, 0, 1, 1000)
    assert np.array_equal(same.order, other.order)
    assert np.array_equal(same.shift, other.shift)
    assert not augment.epoch_plan(dataclasses.replace(recipe, flip=False), 0, 1, 1000).flip.any()


@given(st.integers(0, 5), st.booleans(), st.sampled_from(["reflect", "wrap", "zero"]))
def test_a_batch_is_a_shifted_or_flipped_view_of_its_image(shift: int, flip: bool, mode: ShiftMode) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, shift=shift, flip=flip)
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    plan = augment.epoch_plan(recipe, 3, 1, len(images))
    rows = slice(4, 9)
    got = augment.batch(augment.padded(images, shift, mode), plan, rows, shift)
    for i, (index, flipped, (down, right)) in enumerate(
        zip(plan.order[rows], plan.flip[rows], plan.shift[rows], strict=True)
    ):
        of_numpy = {"zero": "constant"}.get(mode, mode)
        padded = np.pad(images[index], ((shift, shift), (shift, shift), (0, 0)), mode=of_numpy)
        want = padded[down : down + 32, right : right + 32]
        assert np.array_equal(got[i], want[:, ::-1] if flipped else want)


def test_without_augmentation_a_batch_is_its_images() -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, shift=0, flip=False)
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    plan = augment.epoch_plan(recipe, 0, 0, len(images))
    assert np.array_equal(augment.batch(augment.padded(images, 0), plan, slice(0, 12), 0), images[plan.order])
