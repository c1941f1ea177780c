"""The command line as a user meets it: help, bad input, exit codes, JSON."""

import importlib
import json
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from conftest import Command, command, document, shown

from harness import experiment
from harness.cli.app import app
from harness.common import paths
from harness.common.errors import BadInput
from harness.common.paths import PROJECT
from harness.data import load
from harness.engine.backend import default_engine
from harness.experiment import Experiment
from harness.reporting.console import log, out

EXPERIMENTS = ["run", "compare", "report", "new", "plan", "sync", "record", "evidence"]
SEARCHES = ["search", "anytime", "worker"]
TOOLS = ["data", "show", "predict", "export", "bench", "calibrate", "ui", "dashboard", "runs"]
COMMANDS = [*EXPERIMENTS, *SEARCHES, *TOOLS]


def test_the_help_lists_every_command_with_what_it_does_in_its_group(harness: Command) -> None:
    # The real command, in a terminal of a usual width.
    text = harness("--help", COLUMNS="80").stdout
    groups = dict(re.findall(r"╭─ (\w+) ─+╮\n(.*?)\n╰", text, re.S))
    for group, names in {"Experiments": EXPERIMENTS, "Searches": SEARCHES, "Tools": TOOLS}.items():
        rows = re.findall(r"^│ (\w+) +(\w.*?) *│$", groups[group], re.M)
        assert [name for name, _ in rows] == names
        assert all(len(what) > 20 for _, what in rows)
    assert sorted(typer.main.get_command(app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, text, _ = shown(capsys, monkeypatch, name, "--help")
    assert code == 0
    assert re.search(rf"^ +(\w+=\S+ )*harness {name}\b", text, re.M)


def test_the_help_of_run_names_the_experiments_with_their_questions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text, _ = shown(capsys, monkeypatch, "run", "--help")
    for name in experiment.names():
        assert f"{name}: {experiment.load(name).question}" in " ".join(text.split())
    assert "--cells" not in text


def test_the_version_is_that_of_the_project(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert shown(capsys, monkeypatch, "--version") == (0, f"harness {version}\n", "")


@pytest.mark.parametrize("backend", ["torch", "openvino", ""])
def test_a_backend_that_is_no_engine_is_another_program_s(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    arguments = ("run", "baseline", "--budget", "smoke", "--data", "digits", "--dry-run", "--json")
    code, text, errors = shown(capsys, monkeypatch, *arguments)
    assert (code, errors) == (0, "")
    usual = json.loads(text)["specs"]
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert json.loads(shown(capsys, monkeypatch, *arguments)[1])["specs"] != usual
    assert json.loads(shown(capsys, monkeypatch, *arguments, "--engine", "tensorflow")[1])["specs"] == usual
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert default_engine() == "tensorflow"


def test_what_is_said_of_names_is_no_markup(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = Experiment(variants={"[bold]a[/bold] :cat:": {"flip": False}, "[/] b": {"shift": 1}})
    monkeypatch.setattr(importlib.import_module("experiments.baseline"), "experiment", odd)
    arguments = ("run", "baseline", "--budget", "smoke", "--data", "digits", "--dry-run", "--set", "shift=1")
    monkeypatch.setattr(log, "_width", 200)
    monkeypatch.setattr(out, "_width", 200)
    code, text, errors = shown(capsys, monkeypatch, *arguments)
    assert code == 0
    assert "baseline without [/] b:" in errors
    assert "[bold]a[/bold] :cat:, shift=1 fast smoke seed 0" in text
    plan = tmp_path / "[red]specs[/red].json"
    code, _, errors = shown(capsys, monkeypatch, "plan", *arguments[1:6], "--out", str(plan))
    assert code == 0
    assert f"harness run --specs '{plan}'" in errors
    code, _, errors = shown(capsys, monkeypatch, "run", "[/nothing]")
    assert code == 2
    assert "called '[/nothing]'" in errors


@pytest.mark.parametrize("count", ["0", "-1"])
@pytest.mark.parametrize(
    "arguments", [("run", "ablate_order"), ("search",), ("run", "--specs", "nothing.json"), ("run", "--cells", "none")]
)
def test_workers_that_cannot_work_are_refused_everywhere(
    mlruns: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    count: str,
) -> None:
    code, text, errors = shown(capsys, monkeypatch, *arguments, "--workers", count)
    assert (code, text) == (2, "")
    assert f"Invalid value --workers {count}: at least one process has to do the work" in " ".join(errors.split())


def test_the_former_name_of_specs_is_understood(
    mlruns: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in ("--specs", "--cells"):
        code, _, errors = shown(capsys, monkeypatch, "run", option, "nothing.json")
        assert code == 2
        assert "nothing.json is no list of runs" in " ".join(errors.split())


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = (
        "import sys, harness.cli.app, harness.commands.run, harness.data\n"
        "print([name for name in ('tensorflow', 'keras', 'mlflow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


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
        (["run", "baseline", "--budget", "quick:1438", "--data", "digits"], "digits has 1,437 training images"),
        (["run", "baseline", "--seeds", "10000000"], "1 to 1000"),
        (["run", "baseline", "--seeds", "1000,"], "seed 1000 is one that learning rates are tuned"),
        (["search", "--confirm", "--seeds", "7,1000"], "seed 1000 is one that learning rates are tuned"),
        (["run", "baseline", "--set", "learning_rate=inf", "--data", "digits"], "learning_rate is a finite number"),
        (["run", "baseline", "--set", "dropout=0.5,0.5,0.5", "--data", "digits"], "dropout is four rates"),
        (["show", "--set", "shift=2.7"], "shift is a whole number"),
        (["bench", "--images", "100000"], "--images 100000"),
        (["bench", "--batch-size", "1"], "--batch-size 1"),
        (["ui", "--port", "99999"], "or equal to 65535"),
        (["run"], "Give either experiments"),
        (["train"], "No such command"),
        (["predict", "nothing.png"], "nothing.png"),
        (["predict", "README.md"], "README.md is no picture that Pillow can read"),
        (["show", "--set", "shift=1", "--set", "shift=2"], "--set shift is given twice"),
        (["run", "baseline", "--offline", "README.md"], "as README.md is a file: give a folder"),
        (["run", "baseline", "--offline", "README.md/a"], "as README.md is a file: give a folder"),
        (["plan", "baseline", "--budget", "smoke", "--data", "digits", "--out", "."], "Give a file"),
        (["run", "ablate_bn", "--variant", "no nrm"], "did you mean no norm"),
        (["run", "ablate_order", "--workers", "0"], "at least one process"),
        (["compare", "ffff"], "the start of 0 keys of finished runs"),
        (["compare", "baselin"], "did you mean baseline"),
        (["compare", "ffff", "--budget", "quick"], "--budget is of experiments"),
        (["compare", "ablate_bn", "--metric", "accuracy"], "--metric needs --csv or --mlflow"),
        (["compare", "--csv", "runs.csv", "--recipe", "fats"], "--recipe is of experiments"),
        (["compare", "baseline", "ffff"], "baseline is an experiment, and ffff is none"),
        (["compare", "ffff", "baseline"], "baseline is an experiment, and ffff is none"),
        (["run", "baseline", "--set", "epochs=2", "--set", "epochs=4"], "--set epochs is given twice"),
        (["evidence", "add", ".", "--commit", "zzz"], "--commit zzz: there is no such commit"),
        (["compare", "ablate_order", "--budget", "smoke", "--data", "digits"], "harness run ablate_order"),
        (["new", "baseline"], "is there already"),
        (["new", "ablate-this"], "no Python name"),
        (["new", "class"], "no Python name"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    # That the real command ends alike is tested below.
    code, text, errors = shown(capsys, monkeypatch, *arguments)
    assert code == 2, errors
    assert says in " ".join(errors.split())
    assert "Traceback" not in errors
    assert text == ""


@pytest.mark.parametrize("kind", ["a file", "a loop of links", "too long a name", "too long a path"])
def test_a_place_that_can_be_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    place = tmp_path / "place"
    if kind == "a file":
        place.write_text("")
    elif kind == "a loop of links":
        place.symlink_to(place)
    elif kind == "too long a name":
        place = tmp_path / ("x" * 300)
    else:
        place = tmp_path.joinpath(*["x" * 200] * 3)
    monkeypatch.setenv("HARNESS_MLRUNS", str(place))
    code, _, errors = shown(capsys, monkeypatch, "runs")
    assert code == 2, errors
    assert f"Bad input: $HARNESS_MLRUNS={place}"[:60] in "".join(errors.splitlines())
    assert "Traceback" not in errors


def test_predict_without_a_run_says_how_to_get_one(harness: Command, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    ran = harness("predict", str(tmp_path / "a.png"))
    assert ran.returncode == 2
    assert "make baseline" in ran.stderr


def test_data_as_json_and_picture(harness: Command, tmp_path: Path) -> None:
    found = document(harness("data", "--data", "digits", "--json", "--picture", str(tmp_path / "p.png")))
    assert found["name"] == "digits"
    assert found["train_images"] + found["test_images"] == 1797
    assert sum(found["train_per_class"].values()) == found["train_images"]
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_show_as_json_and_picture(harness: Command, tmp_path: Path) -> None:
    ran = document(harness("show", "--json", "--picture", str(tmp_path / "n.png"), "--set", "normalization=none"))
    assert ran["parameters"] == 549_354 - 4 * 3 * (32 + 64 + 128)
    assert (tmp_path / "n.png").stat().st_size > 10_000


@pytest.mark.parametrize("what", ["data", "show"])
def test_what_is_known_is_shown_where_its_picture_cannot_be_drawn(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    chosen = ("--data", "digits") if what == "data" else ()
    code, text, errors = shown(capsys, monkeypatch, what, *chosen, "--json", "--picture", str(tmp_path))
    assert (code, json.loads(text)["picture"]) == (2, str(tmp_path))
    assert "Choose another with --picture" in " ".join(errors.split())


def test_a_directory_that_is_no_data_set_is_refused(harness: Command, tmp_path: Path) -> None:
    ran = harness("run", "baseline", "--budget", "smoke", CIFAR10_DIR=str(tmp_path))
    assert ran.returncode == 2
    assert str(tmp_path) in "".join(ran.stderr.split("\n"))


def test_module_and_script_end_with_the_same_code() -> None:
    script = str(Path(sys.executable).with_name("harness"))
    ends = [subprocess.run([*c, "run", "baseline", "--seeds", "0"]).returncode for c in (command(), [script])]
    assert ends == [2, 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_command_is_imported_ends_it_without_a_traceback(
    mlruns: Path, number: signal.Signals
) -> None:
    # The child sends it to itself, so that it comes in time. Under nohup children ignore SIGHUP, and are meant to.
    code = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rich':\n"
        "            sys.meta_path.remove(self)\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('harness', run_name='__main__', alter_sys=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, "runs"], capture_output=True, text=True)
    # Where Ctrl-C meets code that is compiled from text, Python ends as if the signal had killed it: 130 in a shell.
    assert ended.returncode in (130, -signal.SIGINT)
    assert (ended.stdout, "Traceback" in ended.stderr) == ("", False)


def test_a_signal_while_the_interpreter_ends_loses_nothing_that_was_printed() -> None:
    code = (
        "import atexit, sys, time\n"
        "from harness import __main__ as program\n"
        "class App:\n"
        "    def main():\n"
        "        atexit.register(lambda: (print('ending', file=sys.stderr, flush=True), time.sleep(60)))\n"
        "        print('done')\n"
        "program.app = App\n"
        "program.main()\n"
    )
    ended = [sys.executable, "-c", code]
    with subprocess.Popen(ended, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stderr.readline() == "ending\n"
        child.send_signal(signal.SIGINT)
        assert (child.stdout.read(), child.stderr.read(), child.wait()) == ("done\n", "", 130)


def test_output_that_cannot_be_written_is_named(mlruns: Path) -> None:
    with open("/dev/full", "w") as full:
        completed = subprocess.run([*command("runs")], stdout=full, stderr=subprocess.PIPE, text=True)
    assert completed.returncode == 1
    assert "No space left on device (the output of this command)" in completed.stderr


@pytest.mark.parametrize("name", ["CIFAR10_DIR", "HARNESS_CACHE"])
def test_the_home_of_nobody_is_no_place(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "~nobody-of-that-name/data")
    with pytest.raises(BadInput, match=rf"\${name}=~nobody-of-that-name/data names no folder"):
        load() if name == "CIFAR10_DIR" else paths.cache()
