"""Where a run was trained is recorded beside it, and pairs of runs from unlike places are told."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import types
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, finished, small_config

from harness.analysis.make_report import make_report
from harness.common import paths
from harness.common.errors import BadInput
from harness.engine import devices
from harness.experiment import Experiment
from harness.reporting.sentences import reservations
from harness.runs.folder import ENVIRONMENT, RunFolder
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.provenance import _commit, full_hash, provenance, version

HERE = {"cpu": "an abacus, 2 cores", "threads": "2", "version_numpy": "2.0", "git_commit": "abc"}
ELSEWHERE = HERE | {"cpu": "another one, 2 cores"}
TANH = Experiment(variants={"tanh": {"activation": "tanh"}})


def test_an_environment_that_changes_nothing_is_one(mlruns: Path) -> None:
    folder = RunFolder(small_config())
    assert folder.environments() == []
    folder.begin(HERE, "there")
    folder.begin(HERE | {"git_commit": "def"}, "there")
    assert folder.environments() == [{"cpu": "an abacus, 2 cores", "threads": "2", "version_numpy": "2.0"}]


def test_a_run_that_goes_on_elsewhere_has_both_and_its_first_beginning(mlruns: Path) -> None:
    folder = RunFolder(small_config())
    folder.begin(HERE, "there")
    begun = json.loads((folder.path / ENVIRONMENT).read_text())["begun"]
    folder.begin(HERE | {"threads": "1"}, "there")
    assert [each["threads"] for each in folder.environments()] == ["2", "1"]
    assert json.loads((folder.path / ENVIRONMENT).read_text())["begun"] == begun


def test_what_changes_numbers_is_told(monkeypatch) -> None:
    monkeypatch.setenv("TF_CUDNN_DETERMINISTIC", "1")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert "TF_CUDNN_DETERMINISTIC=1" in provenance()["switches"]


def test_code_counts_as_changed_and_what_commands_write_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        name = ("-c", "user.name=me", "-c", "user.email=me@here")
        subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True, capture_output=True)

    for name in ("pyproject.toml", "harness/__init__.py", "experiments/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    said = []
    for name in ("specs.json", "experiments/results/table.csv", "experiments/mine.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        said.append(_commit.__wrapped__()["git_dirty"])
    assert said == ["false", "false", "true"]
    assert len(full_hash("HEAD")) == 40
    (tmp_path / "experiments" / "mine.py").unlink()
    (tmp_path / "pyproject.toml").write_text("[project]")
    assert _commit.__wrapped__()["git_dirty"] == "true"


def test_a_command_does_not_read_what_would_change_numbers_or_precision_under_a_key() -> None:
    """On a processor with bfloat16, TF_ENABLE_ONEDNN_OPTS=0 alone would make a bfloat16 run a float32 one."""
    switches = {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2", "JAX_ENABLE_X64": "1"}
    switches |= {"JAX_RANDOM_SEED_OFFSET": "1", "JAX_DEBUG_NANS": "1", "TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}
    harmless = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_gpu_cuda_data_dir=/usr/lib/cuda"}
    code = "import os, sys\nfrom harness.cli.app import main\nsys.argv = ['harness', '--version']\n"
    code += "try: main()\nexcept SystemExit: print(*os.environ)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | switches | harmless
    ).stdout
    assert {"PATH", *harmless} <= set(said.split())
    assert not switches.keys() & set(said.split())


def test_a_precision_that_is_not_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "sees_gpu", lambda engine: False)
    monkeypatch.setattr(devices, "_convolution", lambda images, kernel: np.full((1, 1, 1, 1), 72.07, np.float32))
    with pytest.raises(BadInput, match="--precision float32"):
        devices.check_precision.__wrapped__("bfloat16", "tensorflow")
    devices.check_precision.__wrapped__("float32", "tensorflow")


def test_git_is_asked_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    known = provenance()
    monkeypatch.setattr("subprocess.run", lambda *arguments, **options: pytest.fail("a run of a list costs no process"))
    assert provenance() == known


def test_a_module_from_a_distribution_of_another_name_has_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(__version__="2.21.0+cpu"))
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert version("tensorflow") == "2.21.0+cpu"
    assert "version_jax" not in provenance()


def test_the_commit_of_a_repository_around_the_project_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    project = tmp_path / "unpacked"
    (project / "harness").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    (project / "harness" / "__init__.py").touch()
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(paths, "PROJECT", project)
    assert _commit.__wrapped__() == {}
    git("add", ".")
    git("commit", "-m", "ours now")
    # What a hook of git says of another repository does not count.
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert _commit.__wrapped__()["git_dirty"] == "false"


def test_a_user_without_a_home_gets_one_in_mlruns(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    paths.ensure_home()
    assert os.environ["HOME"] == "/home/me"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    paths.ensure_home()
    assert Path.home() == mlruns / "home"
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("HARNESS_MLRUNS", "/dev/null")  # nothing can be written there
    paths.ensure_home()
    assert Path.home() == Path(tempfile.gettempdir())


def test_a_terminal_that_lacks_a_sign_shows_another(harness: Command) -> None:
    shown = harness("data", "--data", "digits", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert shown.returncode == 0, shown.stderr
    assert "digits ? bundled" in shown.stdout


def run(variant: str, seed: int, *environments: dict[str, str]) -> RunResult:
    """A run that was begun in the first of these environments, and went on in the others."""
    network = dataclasses.replace(small_config().network, activation="relu" if variant == "baseline" else "tanh")
    spec = RunSpec("e", variant, "quick", "fast", "same recipe", small_config(network=network, seed=seed))
    folder = RunFolder(spec.config)
    for environment in environments:
        folder.begin(environment, "there")
    return RunResult(spec, folder, finished(), [])


@pytest.mark.parametrize(
    ("ours", "theirs", "unlike"),
    [
        ([HERE], [HERE], 0),
        ([ELSEWHERE], [HERE], 1),
        ([HERE], [HERE, ELSEWHERE], 1),
        # It is not known in which epoch each of the two went on.
        ([HERE, ELSEWHERE], [HERE, ELSEWHERE], 1),
        # Nothing was recorded of one of them, or of both.
        ([HERE], [], 0),
        ([], [HERE], 0),
        ([], [], 0),
    ],
)
def test_an_unlike_pair(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ours: list[dict[str, str]],
    theirs: list[dict[str, str]],
    unlike: int,
) -> None:
    monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path))
    report = make_report(TANH, [run("baseline", 0, *theirs), run("tanh", 0, *ours)])
    assert [row.unlike_pairs for row in report.variants] == [0, unlike]


def test_pairs_of_unlike_environments_are_counted_and_told(mlruns: Path) -> None:
    results = [run("baseline", seed, HERE) for seed in range(3)]
    results += [run("tanh", seed, HERE if seed else ELSEWHERE) for seed in range(3)]
    report = make_report(TANH, results)
    assert [row.unlike_pairs for row in report.variants] == [0, 1]
    assert any("tanh, same recipe: in 1 of 3 pairs the two" in said for said in reservations(report))
    more = dataclasses.replace(report, variants=(*report.variants, *report.variants[1:]))
    assert any("tanh, tanh, same recipe: in 1 of 3 pairs of each the two" in said for said in reservations(more))
