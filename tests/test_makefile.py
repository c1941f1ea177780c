"""The Makefile as a user meets it: its help, and options that only its command line can set."""

import os
import re
import shutil
import subprocess

import pytest

from harness.common.paths import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

MAKEFILE = (PROJECT / "Makefile").read_text()
OPTIONS = re.search(r"^OPTIONS := (.*)$", MAKEFILE, re.M)[1].split()  # type: ignore[index]
TARGETS = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE, re.M)[1].replace("\\", " ").split()


def make(*words: str, **environment: str) -> str:
    # These tests may run under make: what that was given is none of theirs.
    usual = {name: value for name, value in os.environ.items() if name not in (*OPTIONS, "MAKEFLAGS", "MFLAGS")}
    made = subprocess.run(["make", *words], cwd=PROJECT, env=usual | environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_help_lists_every_target_in_80_columns() -> None:
    lines = make("help").splitlines()
    assert all(len(line) < 80 for line in lines)
    assert sorted(re.findall(r"^  make ([a-z-]+)", "\n".join(lines), re.M)) == sorted(TARGETS)


EVERYTHING = ("-n", "install", "ablate", "search", "confirm", "compare", "data", "sync", "ui", "dashboard", "bench")


def test_what_the_environment_exports_changes_nothing() -> None:
    assert len(OPTIONS) > 10
    assert make(*EVERYTHING, **dict.fromkeys(OPTIONS, "elsewhere")) == make(*EVERYTHING)


def test_no_option_comes_from_anywhere_but_the_list() -> None:
    used = set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE)) | set(re.findall(r"\$\((?:if|or) \$?\(?([A-Z]+)\)", MAKEFILE))
    assert used - {"LOCK", "READY", "UV", "OPTIONS"} == set(OPTIONS)


@pytest.mark.parametrize(
    ("target", "option", "given"),
    [
        ("baseline", "SEEDS=3", "--seeds 3"),
        ("baseline", "RECIPE=published", "--recipe published"),
        ("baseline", "FRESH=1", "--fresh"),
        ("baseline", "OFFLINE=there", "--offline there"),
        ("ablate", "ENGINE=jax", "--engine jax"),
        ("search", "BUDGET=full", "--budget full"),
        ("search", "TRIALS=7", "--trials 7"),
        ("confirm", "SAVE=better", "--save better"),
        ("data", "DATA=digits", "--data digits"),
        ("sync", "DIR=there", "sync there"),
        ("ui", "PORT=5001", "--port 5001"),
    ],
)
def test_the_command_line_sets_options_whatever_the_environment_says(target: str, option: str, given: str) -> None:
    name = option.partition("=")[0]
    assert given in make("-n", target, option, **{name: "elsewhere"})
