"""The notebook in docs/ runs from its first cell to its last, as a kernel runs it that is started beside it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from harness.common.paths import PROJECT

NOTEBOOK = PROJECT / "docs" / "does-batch-norm-help.ipynb"


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_the_notebook_runs_to_its_end(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel is this Python, whatever kernels the machine has.
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (training,) = [cell for cell in notebook.cells if cell.source.startswith("SIZE = ")]
    assert "--budget quick:500 --set epochs=4 " in training.source
    # Seconds, and images that are on every machine.
    training.source = training.source.replace(
        "--budget quick:500 --set epochs=4 ", "--budget smoke --data digits --no-probe "
    )
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in shown)
    assert "With 4 seeds, in points of validation accuracy:" in said
    assert "Collecting" not in said
    tables = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert "against_baseline_verdict" in tables[0]
    assert "points against the baseline" in tables[1]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
