"""The hash of the code that decides a run's numbers: with it in the run key, other code is another run.

It sees what computes and not where that stands. Moving a definition to another file, renaming a module, sorting or
rewriting imports, comments, docstrings, annotations, error messages and layout change nothing; another operator or
another constant does.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from harness.common.paths import PROJECT

#: The modules whose code decides a run's numbers, whichever engine trains it, and those of each engine.
NUMERICS = (
    *("engine/augment.py", "engine/schedule.py", "data/splits.py"),
    *("engine/network.py", "engine/initial.py", "engine/layers.py", "engine/optimizers.py", "engine/state.py"),
)
ENGINE_NUMERICS = {
    "tensorflow": ("engine/tensorflow/program.py",),
    "jax": ("engine/jax/arguments.py", "engine/jax/batch_norm.py", "engine/jax/program.py"),
}
#: The modules that decide what is measured of a run: its rows of metrics, and what the probes see.
MEASURES = ("engine/loop.py", "engine/probes.py")
ENGINE_MEASURES = {"tensorflow": ("engine/tensorflow/probe_passes.py",), "jax": ("engine/jax/probe_passes.py",)}


@cache
def source_hash(engine: str) -> str:
    """12 hex digits over the code that decides the numbers of an engine's runs."""
    return hash_of(PROJECT / "harness" / name for name in (*NUMERICS, *ENGINE_NUMERICS.get(engine, ())))


@cache
def measures_hash(engine: str) -> str:
    """12 hex digits over the code that measures an engine's runs: values of different code are never averaged."""
    return hash_of(PROJECT / "harness" / name for name in (*MEASURES, *ENGINE_MEASURES.get(engine, ())))


def hash_of(files: Iterable[Path]) -> str:
    """12 hex digits over the definitions of some modules, whichever of them each stands in."""
    definitions = [text for file in files for text in canonical_definitions(file.read_text(encoding="utf-8"))]
    return hashlib.sha256("\n".join(sorted(definitions)).encode()).hexdigest()[:12]


def canonical_definitions(source: str) -> list[str]:
    """The statements of a module, each as text without what does not compute.

    What is imported from this package goes by its own name alone, and what is imported from elsewhere by its full name,
    however the import was written.
    """
    tree = ast.parse(source)
    names = _imported(tree)
    return [ast.unparse(kept) for node in tree.body if (kept := _Canonical(names).visit(node)) is not None]


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: a dotted name, or nothing for this package and its modules."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                ours = alias.name.partition(".")[0] == "harness"
                names[alias.asname or alias.name.partition(".")[0]] = "" if ours else alias.name
                if not alias.asname:
                    names[alias.name.partition(".")[0]] = "" if ours else alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                ours = node.level > 0 or (node.module or "").partition(".")[0] == "harness"
                module = ours and _is_module(node, alias.name)
                dotted = alias.name if ours else f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = "" if module else dotted
        elif isinstance(node, ast.Assign) and (lazy := _lazily_imported(node)):
            ours = lazy.partition(".")[0] == "harness"
            names |= {target.id: "" if ours else lazy for target in node.targets if isinstance(target, ast.Name)}
    return names


def _lazily_imported(node: ast.Assign) -> str:
    """The module of `name = lazy_import("module")`; empty for any other assignment."""
    call = node.value
    is_lazy = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "lazy_import"
    return call.args[0].value if is_lazy else ""  # type: ignore[attr-defined]


def _is_module(node: ast.ImportFrom, name: str) -> bool:
    """Whether a name that is imported from this package is a module of it."""
    folder = PROJECT.joinpath(*(node.module or "").split("."))
    return folder.joinpath(name).is_dir() or folder.joinpath(f"{name}.py").is_file()


class _Canonical(ast.NodeTransformer):
    """Takes out what does not compute, and gives every imported name its one spelling."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if _lazily_imported(node) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_typing = ast.unparse(node.test).endswith("TYPE_CHECKING")
        return None if is_typing else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id) or node.id, node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if self._is_package(node.value):
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)

    def _is_package(self, node: ast.AST) -> bool:
        """Whether an expression is this package or a module of it: `schedule`, or `harness.engine.schedule`."""
        if isinstance(node, ast.Attribute):
            return self._is_package(node.value) and not node.attr[0].isupper()
        return isinstance(node, ast.Name) and self._names.get(node.id) == ""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # The fields of a dataclass or a tuple stay, with their names and in their order.
        target = self.visit(node.target)
        return ast.Assign([target], self.visit(node.value) if node.value else ast.Constant(...), lineno=0)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        # A string by itself is a docstring or a comment.
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node
