"""Every command that the program or its documentation prints is one that the program takes, and means what it said."""

import ast
import dataclasses
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from conftest import finished
from typer.core import TyperGroup
from typer.exceptions import TyperException

from harness.analysis.make_report import make_report
from harness.cli.app import app, main
from harness.commands.compare import _of_runs
from harness.commands.run import Job
from harness.commands.search import SearchJob, SearchOptions
from harness.common.paths import PROJECT
from harness.config import read_changes
from harness.experiment import Experiment
from harness.reporting import sentences
from harness.run_options import RunOptions, parse_seeds
from harness.runs.folder import RunFolder
from harness.runs.spec import RunResult, RunSpec
from harness.tracking.recorder import MlflowRecorder

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
OPTIONS = set(re.search(r"^OPTIONS := (.*)$", MAKEFILE, re.M)[1].split())  # type: ignore[index]


def parse(text: str) -> None:
    """Let the program's own parser read a command line, without doing what it says."""
    for command in re.split(r" && ", text):
        words = shlex.split(command, comments=True)
        while re.match(r"[A-Z0-9_]+=", words[0]):
            words.pop(0)
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            assert set(targets) <= TARGETS, command
            assert {word.partition("=")[0] for word in words[1:] if "=" in word} <= OPTIONS, command
            continue
        words = words[3:] if words[:3] == ["python3", "-m", "harness"] else words[1:]
        name, *arguments = words
        assert name in COMMANDS or name.startswith("-"), command
        # A command named alone is spoken of, and not to be given so; and so is one whose last option has no value.
        if name in COMMANDS and arguments and arguments != ["--help"]:
            try:
                accept(COMMANDS[name], name, arguments)
            except Exception as error:
                if not str(error).endswith("requires an argument."):
                    raise
                accept(COMMANDS[name], name, [*arguments, "1"])


def accept(command: Any, name: str, arguments: list[str]) -> None:
    """Let a command parse its arguments; a group of commands leaves some of them to one of its own."""
    context = command.make_context(name, list(arguments))
    if isinstance(command, TyperGroup) and (rest := [*context._protected_args, *context.args]):
        assert rest[0] in command.commands, arguments
        if rest[1:]:
            accept(command.commands[rest[0]], rest[0], rest[1:])


STARTS = r"(?:[A-Z0-9_]+=\S+ )*(?:(?:\.venv/bin/|python3 -m )?harness|make) [a-z-]"


def commands_in(text: str) -> Iterator[str]:
    """The commands of a text: in backticks, or in lines of their own that are set off."""
    yield from re.findall(rf"`({STARTS}[^`]*)`", text)
    for line in re.sub(r"\\\n *", "", text).splitlines():
        if re.match(rf"(?:    |\t){STARTS}", line):
            yield re.split(r" [|>] ", line.strip())[0]


def printed_in(source: str) -> Iterator[str]:
    """The texts of a module that it may print, with 1 for what is filled in: no docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    skipped = {id(node.body[0].value) for node in ast.walk(tree)
               if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "1" for part in node.values)
            skipped |= {id(part) for part in node.values}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


@pytest.fixture(autouse=True)
def no_engine_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)


def test_what_messages_name_exists() -> None:
    found = [
        command
        for file in sorted((PROJECT / "harness").rglob("*.py"))
        for text in printed_in(file.read_text())
        for command in commands_in(text)
    ]
    assert len(found) > 20
    for command in found:
        parse(command)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_commands(name: str) -> None:
    examples = [line for line in commands_in(COMMANDS[name].callback.__doc__) if f"harness {name}" in line]
    assert examples
    for example in examples:
        parse(example)


def documentation() -> list[str]:
    files = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"), *(PROJECT / "experiments").rglob("*.py")]
    return [str(file.relative_to(PROJECT)) for file in sorted([*files, *(PROJECT / "experiments").rglob("*.md")])]


#: What docs/extend.md tells the reader to add.
TO_ADD = "make ablate-shift"


@pytest.mark.parametrize("file", documentation())
def test_what_the_documentation_names_exists(file: str) -> None:
    for command in commands_in((PROJECT / file).read_text()):
        if not command.startswith(TO_ADD):
            parse(command)


def test_the_documentation_names_commands() -> None:
    found = [command for file in documentation() for command in commands_in((PROJECT / file).read_text())]
    assert len(found) > 100


@pytest.mark.parametrize("command", ["harness evidence nonsense", "harness runs rm --nonsense", "make nonsense"])
def test_what_is_no_command_is_noticed(command: str) -> None:
    with pytest.raises((AssertionError, TyperException)):
        parse(command)


ODD = Experiment(
    variants={
        "[bold] it's": {"normalization": "none"},
        'a "b" $HOME; c, d': {"shift": 1},
        "--flag": {"flip": False},
        "dropout=0.5, ramped": {"dropout": (0.5, 0.5, 0.5, 0.5), "dropout_ramp": True},
    },
    question="?",
)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch, mlruns: Path) -> None:
    """An experiment whose variants have names that a shell, a table or a parser might misread."""
    monkeypatch.setattr(importlib.import_module("experiments.ablate_order"), "experiment", ODD)


def given_again(command: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    """What the command line makes of a command; nothing is trained."""
    jobs: list[Job] = []
    monkeypatch.setattr(Job, "train", lambda job: None)
    monkeypatch.setattr(Job, "publish", lambda job, to=None: jobs.append(job) or [])
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return jobs[0]


def ended(spec: RunSpec) -> RunResult:
    judged = "validation" if spec.config.split == "tune" else "test"
    row: dict[str, Any] = {"epoch": 1, "timestamp": 0, f"{judged}_accuracy": 0.5, f"{judged}_loss": 1.0, "pflop": 0.1}
    return RunResult(spec, RunFolder(spec.config), finished(), [row])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": "5,", "retune": True},
        {"seeds": "3,1,2", "variants": ["[bold] it's", "--flag"]},
        {"variants": ['a "b" $HOME; c, d']},
        {"changes": {"dropout": "0.1, 0.2,0.30 ,.4", "learning_rate": "0.040", "epochs": "2", "warmup": "1e-05"}},
        {"recipe": "published", "split": "tune", "seeds": "2"},
        {"engine": "jax", "precision": "bfloat16"},
        {"budget": "quick", "retune": False, "changes": {"dropout_ramp": "TRUE", "activation": "gelu"}},
        {"budget": "quick"},
    ],
)
def test_the_command_of_a_report_makes_the_same_runs(
    odd: None, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    name = "ablate_order"
    job = Job(RunOptions(**{"experiments": [name], "budget": "smoke", "data": "digits"} | options), MlflowRecorder())
    planned = [*job.specs[name], *job.tuning.get(name, [])]
    report = make_report(job.experiments[name], [ended(spec) for spec in planned], job.designs[name])
    again = given_again(sentences.command(report), monkeypatch)
    assert {spec.config.key for spec in again.specs[name]} == {spec.config.key for spec in job.specs[name]}
    assert {spec.config.key for spec in again.tuning.get(name, [])} == {
        spec.config.key for spec in job.tuning.get(name, [])
    }
    assert {spec.name for spec in again.specs[name]} == {spec.name for spec in job.specs[name]}
    assert again.settings == job.settings
    assert {spec.changes for spec in planned} == {report.changes}
    changed = dataclasses.replace(again.settings, changes=read_changes(report.changes))
    assert changed == job.settings


@pytest.mark.parametrize(
    "options",
    [
        {"experiments": ["baseline", "ablate_order"], "budget": "smoke", "data": "digits"},
        {"budget": "smoke", "recipe": "published", "seeds": "5,", "split": "tune", "retune": True},
        {"budget": "smoke", "variants": ["--flag", "[bold] it's"], "retune": False, "data": "digits"},
        {"budget": "smoke", "engine": "jax", "precision": "bfloat16", "changes": {"dropout": "0, 0,0,.1"}},
        {"budget": "smoke", "seeds": "3,4,7,9", "looks": "2,4", "data": "digits"},
    ],
)
def test_the_command_of_options_gives_these_options(
    odd: None, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    given = RunOptions(**{"experiments": ["ablate_order"]} | options)
    again = given_again(given.command, monkeypatch).options
    assert dataclasses.replace(again, variants=list(again.variants)) == dataclasses.replace(
        given, variants=list(given.variants)
    )


def test_the_command_of_a_comparison_compares_the_same_runs(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(RunOptions(experiments=["baseline"], budget="smoke", seeds="2", data="digits"), MlflowRecorder())
    results = [ended(spec) for spec in job.specs["baseline"]]
    for each in results:
        with each.folder.locked():
            each.folder.finish(each.result, each.history)
    compared, outcomes = _of_runs([each.folder for each in results])
    command = sentences.command(make_report(compared, outcomes))
    given: list[RunOptions] = []
    monkeypatch.setattr("harness.commands.compare.compare", lambda options, recorder, to: given.append(options) or [])
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit):
        main()
    assert given[0].experiments == [each.spec.config.key for each in results]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"study": "tpe's 2 [x]", "sampler": "random", "pruner": "none", "trials": 7},
        {"study": "--study", "engine": "jax", "precision": "bfloat16"},
        {"to": Path("there's a place")},
    ],
)
def test_the_command_of_a_search_is_the_same_search(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    job = SearchJob(SearchOptions(**{"budget": "smoke", "data": "digits"} | options), MlflowRecorder())
    again: list[Any] = []
    monkeypatch.setattr(SearchJob, "run", lambda self: again.append(self))
    monkeypatch.setattr(SearchJob, "publish", lambda self: {})
    monkeypatch.setattr(SearchJob, "confirm", lambda self, seeds: again.append((self, seeds)) or {})
    monkeypatch.setattr("harness.cli.search.show", lambda *arguments: None)
    monkeypatch.setattr("harness.cli.search.show_reports", lambda *arguments, **options: None)
    for command in (job._command(), job._command("--confirm", "--seeds", "5,")):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    assert again[1][1] == parse_seeds("5,")
    for each in (again[0], again[1][0]):
        assert (each.trials, each.options.to) == (job.trials, job.options.to)
        assert each.study.study_name == job.study.study_name
        assert each.study_config == job.study_config
