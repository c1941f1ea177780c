"""What the notebook claims, and how far a run is from it."""

import pytest

from harness import notebook


def test_the_published_run_reached_its_targets_when_it_says() -> None:
    curve = notebook.curve()
    assert len(curve) == 200
    assert curve["epoch"][curve["test_accuracy"] >= 0.80].iloc[0] == 27
    assert curve["epoch"][curve["test_accuracy"] >= 0.86].iloc[0] == 103
    end = notebook.final()
    assert end["test_accuracy"] == pytest.approx(0.867, abs=0.0005)
    assert end["test_loss"] == pytest.approx(0.66, abs=0.005)
    assert end["train_accuracy"] == pytest.approx(0.947, abs=0.0005)


def test_distance() -> None:
    published = notebook.curve()["test_accuracy"].tolist()
    assert notebook.distance(published)["largest"] == 0
    moved = published[:10]
    moved[4] += 0.1
    assert notebook.distance(moved) == pytest.approx({"largest": 0.1, "epoch": 5, "mean": 0.01, "epochs": 10})
    assert notebook.distance([*published, 0.5])["epochs"] == 200


def test_only_cifar10_is_compared() -> None:
    assert notebook.comparable("cifar10")
    assert notebook.comparable("cifar10-jpeg75")
    assert not notebook.comparable("digits")
