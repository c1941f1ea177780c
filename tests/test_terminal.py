"""What is printed while something trains and after it: in a terminal of 80 columns, and where output is piped."""

import dataclasses
import io
import sys
from pathlib import Path

import pytest
from conftest import small_config
from rich.text import Text

from harness.reporting import console, progress, status_line
from harness.reporting.console import Terminal, print_command
from harness.reporting.progress import RunDisplay
from harness.reporting.status_line import StatusLine, fitted

SENTENCE = "Each of these words is to stay whole, wherever a line has to end, and none may be lost. " * 3
ROW = {
    "epoch": 1, "epoch_seconds": 86.0, "train_loss": 1.692, "train_accuracy": 0.468, "test_loss": 1.039,
    "test_accuracy": 0.642, "images_per_second": 573.0,
}  # fmt: skip


def terminal(width: int) -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    return Terminal(width=width, file=file, force_terminal=True, color_system=None, markup=False), file


def piped() -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    return Terminal(width=80, file=file, markup=False), file


def test_a_pipe_gets_every_line_in_one_piece() -> None:
    shown, file = piped()
    shown.print(SENTENCE)
    shown.print(Text(SENTENCE))
    assert file.getvalue() == 2 * f"{SENTENCE}\n"


def test_a_terminal_gets_its_lines_broken_between_words_and_a_path_whole() -> None:
    shown, file = terminal(40)
    shown.print(SENTENCE)
    assert all(len(line.rstrip()) <= 40 for line in file.getvalue().splitlines())
    assert file.getvalue().split() == SENTENCE.split()
    path = "/a/path/" + "x" * 80
    shown, file = terminal(40)
    shown.print(f"  {path}")
    assert file.getvalue() == f"  {path}\n"


def test_a_table_in_a_pipe_is_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, file = piped()
    monkeypatch.setattr(console, "out", shown)
    console.print_rows(["a", "b"], [["x" * 100, SENTENCE.strip()]])
    assert f"{'x' * 100} │ {SENTENCE.strip()}" in file.getvalue()


@pytest.mark.parametrize(("width", "line"), [(15, "one  two  three"), (14, "one  two  four"), (8, "one  two"), (2, "")])
def test_what_does_not_fit_is_left_out_and_nothing_is_cut(width: int, line: str) -> None:
    assert fitted(("one", "two", "three", "four"), width) == line


def display(monkeypatch: pytest.MonkeyPatch, shown: Terminal) -> RunDisplay:
    for module in (progress, status_line):
        monkeypatch.setattr(module, "log", shown)
    config = small_config()
    config = dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, epochs=8), train_images=64)
    return RunDisplay("baseline fast seed 2 (3 of 3)", config)


def test_epoch_and_eta_come_first_and_80_columns_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, file = terminal(80)
    watching = display(monkeypatch, shown)
    watching.started([])
    watching.epoch(ROW)
    header, line = file.getvalue().splitlines()
    assert header == "baseline fast seed 2 (3 of 3): loss / accuracy of each epoch"
    assert line == "epoch   1/8  ETA 10 min  train 1.692 / 0.468  test 1.039 / 0.642  573 images/s"


def test_a_pipe_gets_the_name_with_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, file = piped()
    watching = display(monkeypatch, shown)
    with watching:
        watching.started([ROW])
        watching.step(1, 4)
        watching.epoch(ROW)
    header, line = file.getvalue().splitlines()
    assert header.endswith("loss / accuracy of each epoch, going on after epoch 1 of 8")
    assert line.startswith("epoch   2/8  ETA ")
    assert line.endswith("573 images/s  baseline fast seed 2 (3 of 3)")


def test_the_live_line_has_words_while_there_is_no_number_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = terminal(80)
    watching = display(monkeypatch, shown)

    def live() -> str:
        with shown.capture() as captured:
            shown.print(watching._status._line())
        return captured.get().strip()

    with watching:
        assert "baseline fast seed 2 (3 of 3): loading TensorFlow 0 s" in live()
        watching.started([])
        assert "baseline fast seed 2 (3 of 3): opening its record, compiling 0 s" in live()
        watching.step(1, 4)
        watching.step(4, 4)
        assert "epoch 1/8  ETA " in live()
        assert "images/s  baseline fast seed 2 (3 of 3)" in live()


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_live_line_is_one_line_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown, file = terminal(width)
    monkeypatch.setattr(status_line, "log", shown)
    status = StatusLine()
    parts = ("epoch 1/8", "ETA 10 min", "573 images/s", "a name that is rather long")
    status.show(*parts, share=0.3)
    with shown.capture() as captured:
        shown.print(status._line())
    assert len(captured.get().splitlines()) == 1
    assert len(captured.get().rstrip()) <= width
    with pytest.raises(KeyboardInterrupt), status:
        status.show(*parts, share=0.4)
        raise KeyboardInterrupt
    # The cursor goes back up, and the line is erased.
    assert file.getvalue().rstrip().endswith("\x1b[2K")


def test_a_command_is_printed_so_that_it_can_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown, file = terminal(40)
    monkeypatch.setattr(console, "out", shown)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [".venv/bin/harness", "run"])
    command = "harness run ablate_bn --budget quick --precision float32 --seeds 7 --retune"
    print_command(command)
    assert file.getvalue() == f"    .venv/bin/{command}\n"
    program = tmp_path / "harness"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    print_command(command)
    assert file.getvalue().splitlines()[1] == f"    {command}"
