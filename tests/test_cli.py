"""The command line as a user meets it: help, bad input, exit codes, JSON."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, command, document

from harness.cli.app import main

COMMANDS = ["run", "compare", "new", "worker", "data", "show", "predict", "bench", "ui", "search", "dashboard"]


def test_help_teaches_by_example(harness: Command) -> None:
    assert all(name in harness("--help").stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(harness: Command, name: str) -> None:
    shown = harness(name, "--help")
    assert shown.returncode == 0
    assert f"harness {name}" in shown.stdout.replace("Usage: harness", "")


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = (
        "import sys, harness.cli.app, harness.commands.run, harness.data\n"
        "print([name for name in ('tensorflow', 'keras', 'mlflow') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "baselin"], "did you mean baseline"),
        (["run", "baseline", "--budget", "smok"], "did you mean smoke"),
        (["run", "baseline", "--recipe", "fats"], "did you mean fast"),
        (["run", "baseline", "--seeds", "0,0"], "twice"),
        (["run", "baseline", "--split", "test"], "final or tune"),
        (["run", "baseline", "--set", "learning_rate"], "NAME=VALUE"),
        (["run", "baseline", "--set", "lr=1", "--data", "digits"], "learning_rate"),
        (["run", "baseline", "--set", "batch_size=4000", "--budget", "smoke", "--data", "digits"], "batch_size=4000"),
        (["run", "baseline", "--engine", "tensorflo"], "did you mean tensorflow"),
        (["run", "baseline", "--precision", "float16", "--data", "digits"], "float32 or bfloat16"),
        (["run", "baseline", "--data", "mnist"], "mnist"),
        (["run", "baseline", "--seeds", "10000000"], "1 to 1000"),
        (["bench", "--images", "100000"], "--images 100000"),
        (["bench", "--batch-size", "1"], "--batch-size 1"),
        (["ui", "--port", "99999"], "or equal to 65535"),
        (["run"], "Give either experiments"),
        (["train"], "No such command"),
        (["predict", "nothing.png"], "nothing.png"),
        (["run", "ablate_bn", "--variant", "no nrm"], "did you mean no norm"),
        (["run", "ablate_order", "--workers", "0"], "at least one process"),
        (["compare", "ffff"], "fits 0 finished runs"),
        (["compare", "ablate_order", "--budget", "smoke", "--data", "digits"], "harness run ablate_order"),
        (["new", "baseline"], "is there already"),
        (["new", "ablate-this"], "no Python name"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    # In this process: thirty launches of the real command take minutes. That it ends alike is tested below.
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 2, shown.err
    assert says in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_predict_without_a_run_says_how_to_get_one(harness: Command, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    shown = harness("predict", str(tmp_path / "a.png"))
    assert shown.returncode == 2
    assert "make baseline" in shown.stderr


def test_data_as_json_and_picture(harness: Command, tmp_path: Path) -> None:
    found = document(harness("data", "--data", "digits", "--json", "--picture", str(tmp_path / "p.png")))
    assert found["name"] == "digits"
    assert found["train_images"] + found["test_images"] == 1797
    assert sum(found["train_per_class"].values()) == found["train_images"]
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_show_as_json_and_picture(harness: Command, tmp_path: Path) -> None:
    shown = document(harness("show", "--json", "--picture", str(tmp_path / "n.png"), "--set", "normalization=none"))
    assert shown["parameters"] == 549_354 - 4 * 3 * (32 + 64 + 128)
    assert (tmp_path / "n.png").stat().st_size > 10_000


def test_a_directory_that_is_no_data_set_is_refused(harness: Command, tmp_path: Path) -> None:
    shown = harness("run", "baseline", "--budget", "smoke", CIFAR10_DIR=str(tmp_path))
    assert shown.returncode == 2
    assert str(tmp_path) in "".join(shown.stderr.split("\n"))


def test_module_and_script_end_with_the_same_code() -> None:
    script = str(Path(sys.executable).with_name("harness"))
    ends = [subprocess.run([*c, "run", "baseline", "--seeds", "0"]).returncode for c in (command(), [script])]
    assert ends == [2, 2]
