"""Imports go down only: every package may use those that stand before it here, and none that stands behind it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.common.paths import PROJECT

#: From the bottom to the top.
LAYERS = (
    "common",
    "config",
    "source_hash",
    "recipes",
    "metrics",
    "published",
    "experiment",
    "data",
    "runs",
    "run_options",
    "plan",
    "engine",
    "analysis",
    "tracking",
    "execute",
    "search",
    "reporting",
    "commands",
    "cli",
)
PACKAGE = PROJECT / "harness"
MODULES = sorted(
    file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem not in ("__init__", "__main__")
)


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(file: Path) -> Iterator[tuple[str, ast.AST]]:
    """The modules of this package that a file imports, those that it imports lazily included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names if alias.name.startswith("harness"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                path = PROJECT.joinpath(*whole.split("."))
                yield (whole if path.is_dir() or path.with_suffix(".py").exists() else node.module or ""), node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy_import":
            (argument,) = node.args
            assert isinstance(argument, ast.Constant), "a lazy import names its module"
            if argument.value.startswith("harness"):
                yield argument.value, node


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1])


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_go_down(file: Path) -> None:
    here = layer(name_of(file))
    for module, node in imports_of(file):
        if module == "harness":  # its version
            continue
        assert layer(module) <= here, f"line {node.lineno}: {name_of(file)} may not import {module}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_nothing_is_imported_inside_a_function(file: Path) -> None:
    """`harness.common.lazy` does that for all of them; an engine's code is imported when its framework is chosen."""
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef):
            inside = [node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            assert not inside, f"{file}, lines {inside}: use lazy_import"


def test_there_is_no_circle() -> None:
    imported = {name_of(file): {module for module, _ in imports_of(file)} for file in MODULES}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join((*way[way.index(module) :], module))}"
        if module not in done:
            for each in sorted(imported.get(module, ())):
                visit(each, (*way, module))
            done.add(module)

    for module in imported:
        visit(module, ())


def test_no_module_is_named_as_one_of_the_standard_library() -> None:
    names = {name_of(file).rsplit(".", 1)[-1] for file in MODULES}
    assert not names & (set(sys.stdlib_module_names) - {"__init__", "__main__"})
