"""What the notebook claims, and how far a run is from it."""

import pytest

from harness import published as notebook


def test_the_published_run_reached_its_targets_when_it_says() -> None:
    curve = notebook.curve()
    assert len(curve) == 200
    itself = notebook.distance(curve["test_accuracy"].tolist())
    assert itself.first == {"0.80": (27, 27), "0.86": (103, 103)}
    end = notebook.final()
    assert end["test_accuracy"] == pytest.approx(0.867, abs=0.0005)
    assert end["test_loss"] == pytest.approx(0.66, abs=0.005)
    assert end["train_accuracy"] == pytest.approx(0.947, abs=0.0005)


def test_distance() -> None:
    published = notebook.curve()["test_accuracy"].tolist()
    assert notebook.distance(published).largest == 0
    moved = published[:10]
    moved[4] += 0.1
    apart = notebook.distance(moved)
    assert (apart.largest, apart.mean) == pytest.approx((0.1, 0.01))
    assert (apart.epoch, apart.epochs, apart.largest_after_start) == (5, 10, None)
    assert apart.first == {"0.80": (None, 27), "0.86": (None, 103)}
    longer = [*moved, published[10] - 0.02, 0.9]
    assert notebook.distance(longer).largest_after_start == pytest.approx(0.9 - published[11])
    assert notebook.distance(longer).first == {"0.80": (12, 27), "0.86": (12, 103)}
    assert notebook.distance([*published, 0.5]).epochs == 200


def test_only_cifar10_is_compared() -> None:
    assert notebook.comparable("cifar10")
    assert notebook.comparable("cifar10-jpeg75")
    assert not notebook.comparable("digits")
