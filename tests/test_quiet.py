"""The bench waits for a quiet machine, and says when it was none."""

from collections.abc import Iterator

import pytest

from harness.commands.bench import quiet
from harness.commands.bench.quiet import Watch


def watch(*loads: float, patience: float = 60) -> tuple[Watch, list[str]]:
    said: list[str] = []
    measured: Iterator[float] = iter(loads)
    return Watch(said.append, patience, lambda: next(measured)), said


def test_a_quiet_machine_is_not_waited_for() -> None:
    each, said = watch(0.02, 0.1)
    each.wait()
    each.wait()
    assert said == []
    assert "can be trusted" in each.verdict


def test_a_busy_machine_is_waited_for_until_it_is_quiet() -> None:
    each, said = watch(1.9, 1.2, 0.05)
    each.wait()
    assert said == ["other processes use 1.9 cores: waiting up to 60 s for them"]
    assert each.others == [0.05]
    assert "can be trusted" in each.verdict


def test_after_its_patience_it_goes_on_and_says_that_the_timings_are_worthless() -> None:
    each, _ = watch(0.0, 1.5, 0.9, patience=0)
    each.wait()
    each.wait()
    assert each.verdict.startswith("Other processes used up to 1.5 cores before 1 of 2 rounds: do not trust")


def test_this_machine_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "WATCHED", 0.01)
    assert quiet.busy_cores() >= 0
