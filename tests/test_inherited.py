"""What a command inherits from whoever starts it does not stop it, nor lead its writing astray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import shown

from harness.common import paths
from harness.common.errors import HarnessError
from harness.execute.workers import start_workers


def test_what_is_printed_to_closed_streams_goes_into_no_file(tmp_path: Path) -> None:
    """Service managers and `2>&-` close them; TensorFlow then prints into whatever file is opened next."""
    file = tmp_path / "checkpoint"
    code = "import os, sys; from harness.cli import inherited; inherited.set_right(); file = open(sys.argv[1], 'wb')\n"
    code += (
        "file.write(b'weights'); file.flush(); os.write(2, b'log'); os.write(1, b'log'); print(file, file=sys.stderr)"
    )
    command = ["sh", "-c", '"$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable, code, str(file)]
    assert subprocess.run(command).returncode == 0
    assert file.read_bytes() == b"weights"


def test_warnings_of_libraries_are_no_errors() -> None:
    code = "import warnings; from harness.cli import inherited; inherited.set_right()\n"
    code += "warnings.warn('old', DeprecationWarning); warnings.warn('odd')"
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0


def test_mlruns_stays_the_same_folder_while_a_command_runs(tmp_path: Path, capsys, monkeypatch) -> None:
    link, there = tmp_path / "mlruns", tmp_path / "there"
    there.mkdir()
    link.symlink_to(there)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_MLRUNS", "mlruns")
    assert shown(capsys, monkeypatch, "runs")[0] == 0
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    assert paths.mlruns() == there


def test_a_home_that_no_shell_has_written_out_is_the_home(tmp_path: Path, monkeypatch) -> None:
    """Files of variables, as of containers and of systemd, are read by no shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_MLRUNS", "~/runs")
    monkeypatch.setenv("HARNESS_CACHE", "~/cache")
    assert (paths.mlruns(), paths.cache()) == (tmp_path / "runs", tmp_path / "cache")


def test_workers_import_nothing_from_where_the_command_was_given(mlruns: Path, tmp_path: Path, monkeypatch) -> None:
    for name in ("random.py", "numpy.py", "harness.py"):
        (tmp_path / name).write_text("raise SystemExit('this is mine')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(paths.PROJECT))
    with pytest.raises(HarnessError) as died:
        start_workers(["no such study"], 1, lambda: None, probe=False)
    assert "mine" not in str(died.value)
    assert "no such study" in str(died.value)
