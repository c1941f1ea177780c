"""The splits: disjoint, stratified, fixed; and their subsets: exact, fixed, in order."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.common.errors import BadInput
from harness.data import CIFAR10_CLASSES, Dataset, Split, split, subset


def numbered(labels: np.ndarray, test: int = 10) -> Dataset:
    """A data set whose training image i has the number i in its first pixel, and the test images 255."""
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    test_images = np.full((test, 1, 1, 3), 255, np.uint8)
    test_labels = np.arange(test, dtype=np.int32) % 10
    return Dataset("x", "0" * 64, "", "", CIFAR10_CLASSES, images, labels.astype(np.int32), test_images, test_labels)


def numbers(images: np.ndarray) -> np.ndarray:
    return images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)


many_labels = st.builds(
    lambda seed, per_class: np.random.default_rng(seed).permutation(np.repeat(np.arange(10), per_class)),
    st.integers(0, 2**32 - 1),
    st.integers(10, 60),
)


def test_final_is_everything() -> None:
    dataset = numbered(np.arange(100) % 10)
    final = split(dataset, "final")
    assert (final.name, final.eval_name) == ("final", "test")
    assert final.train_images is dataset.train_images
    assert final.eval_images is dataset.test_images
    assert final.eval_labels is dataset.test_labels


@settings(max_examples=25, deadline=None)
@given(many_labels)
def test_tune_is_a_stratified_partition_of_the_training_set(labels: np.ndarray) -> None:
    dataset = numbered(labels)
    tune = split(dataset, "tune")
    assert (tune.name, tune.eval_name) == ("tune", "validation")
    train, held_out = numbers(tune.train_images), numbers(tune.eval_images)
    assert sorted([*train, *held_out]) == list(range(len(labels)))
    assert len(held_out) == -(-len(labels) // 10)
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    np.testing.assert_array_equal(tune.train_labels, labels[train])
    np.testing.assert_array_equal(tune.eval_labels, labels[held_out])
    counts = np.bincount(tune.eval_labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    again = split(dataset, "tune")
    np.testing.assert_array_equal(again.eval_images, tune.eval_images)


def test_tune_of_50000_is_5000_and_the_same_for_ever() -> None:
    tune = split(numbered(np.arange(50_000) % 10), "tune")
    np.testing.assert_array_equal(np.bincount(tune.train_labels), [4500] * 10)
    np.testing.assert_array_equal(np.bincount(tune.eval_labels), [500] * 10)
    held_out = numbers(tune.eval_images)
    digest = hashlib.sha256(json.dumps(held_out.tolist()).encode()).hexdigest()
    assert digest == "f97bd10e926ce28c41ee4ea529100ca352bead2b94ab828cc5d537c55d375c24", (
        "another validation set: results of earlier searches no longer compare with new ones"
    )


def test_the_test_set_cannot_be_reached_from_tune() -> None:
    dataset = numbered(np.arange(200) % 10)
    tune = split(dataset, "tune")
    for array in vars(tune).values():
        if isinstance(array, np.ndarray):
            assert not np.shares_memory(array, dataset.test_images)
            assert not np.shares_memory(array, dataset.test_labels)
            assert array.base is None
    assert not (tune.eval_images == 255).any()
    assert not (tune.train_images == 255).any()


def test_another_name_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r'"test".*"final" or "tune"'):
        split(numbered(np.arange(10)), "test")


@settings(max_examples=50, deadline=None)
@given(many_labels, st.integers(1, 700), st.integers(1, 80))
def test_a_subset_is_exact_stratified_and_in_order(labels: np.ndarray, train: int, evaluate: int) -> None:
    whole = split(numbered(labels, test=50), "final")
    part = subset(whole, train, evaluate)
    assert len(part.train_labels) == len(part.train_images) == min(train, len(labels))
    assert len(part.eval_labels) == len(part.eval_images) == min(evaluate, 50)
    chosen = numbers(part.train_images)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(part.train_labels, labels[chosen])
    counts = np.bincount(part.train_labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    for label in range(10):  # the first of its class, none skipped
        members = np.flatnonzero(labels == label)
        np.testing.assert_array_equal(chosen[labels[chosen] == label], members[: counts[label]])


@settings(max_examples=25, deadline=None)
@given(many_labels, st.integers(1, 300), st.integers(0, 300), st.none() | st.integers(0, 10**9))
def test_a_larger_subset_holds_the_smaller(labels: np.ndarray, small: int, more: int, seed: int | None) -> None:
    whole = split(numbered(labels), "final")
    smaller, larger = subset(whole, small, 1, seed), subset(whole, small + more, 1, seed)
    assert set(numbers(smaller.train_images)) <= set(numbers(larger.train_images))


@settings(max_examples=50, deadline=None)
@given(many_labels, st.integers(1, 700), st.integers(0, 10**9))
def test_a_seed_draws_training_images_of_each_class(labels: np.ndarray, train: int, seed: int) -> None:
    whole = split(numbered(labels, test=50), "final")
    part, again, first = subset(whole, train, 20, seed), subset(whole, train, 20, seed), subset(whole, train, 20)
    chosen = numbers(part.train_images)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, numbers(again.train_images))
    np.testing.assert_array_equal(part.train_labels, labels[chosen])
    # As many of each class as without a seed, and judged by the same images.
    np.testing.assert_array_equal(np.bincount(part.train_labels), np.bincount(first.train_labels))
    np.testing.assert_array_equal(part.eval_images, first.eval_images)


def test_two_seeds_share_no_more_images_than_chance() -> None:
    whole = split(numbered(np.arange(2000) % 10), "final")
    one, other = (set(numbers(subset(whole, 200, 1, seed).train_images)) for seed in (0, 1))
    assert len(one & other) == pytest.approx(20, abs=15)


def test_asking_for_everything_copies_nothing() -> None:
    whole = split(numbered(np.arange(100) % 10), "final")
    assert np.shares_memory(subset(whole, 100, 10**9).train_images, whole.train_images)


def test_unbalanced_classes_fill_up() -> None:
    labels = np.array([0] * 5 + [1] * 50)
    part = subset(split(numbered(labels), "final"), 30, 10)
    np.testing.assert_array_equal(np.bincount(part.train_labels), [5, 25])


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-1, 5)])
def test_an_empty_subset_is_bad_input(sizes: tuple[int, int]) -> None:
    whole: Split = split(numbered(np.arange(100) % 10), "final")
    with pytest.raises(BadInput, match="at least one"):
        subset(whole, *sizes)
