"""What the tests share: an mlruns folder of their own, the real command line, and a small split."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import settings

from harness.cli.app import main
from harness.config import Network, Recipe, RunConfig
from harness.data import Dataset, Split, load
from harness.runs.records import Result
from harness.tracking.mlflow_store import SILENT

#: Keras takes one framework per process: test_on_jax.py starts one for these.
collect_ignore_glob = [] if os.environ.get("KERAS_BACKEND") == "jax" else ["on_jax/*"]

#: For `make test-slow`; the profile of `make test` is Hypothesis's own (pyproject.toml).
settings.register_profile("new-examples", deadline=None, max_examples=1_000)

SMALL_RECIPE = Recipe(
    epochs=3, batch_size=16, optimizer="muon", learning_rate=0.02, schedule="one-cycle", warmup=0.25,
    weight_decay=0.005, label_smoothing=0.1, dropout=(0.1, 0.2, 0.3, 0.5), dropout_ramp=True, flip=True, shift=2,
)  # fmt: skip


def small_config(recipe: Recipe = SMALL_RECIPE, network: Network | None = None, seed: int = 0) -> RunConfig:
    return RunConfig(
        network=network or Network(), recipe=recipe, seed=seed, split="final", data="synthetic",
        data_fingerprint="0" * 64, train_images=64, eval_images=40, engine="tensorflow", precision="float32",
        source="test",
    )  # fmt: skip


def finished(accuracy: float = 0.5, **others: float) -> Result:
    """The result of a finished run. others: further metrics."""
    metrics = {"accuracy": accuracy, "cross_entropy": 1.0, "training_seconds": 1.0}
    return Result("finished", "", metrics | others, "ab", {}, [])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes in one piece: last, one worker would be at it while the other has nothing to do."""
    items.sort(key=lambda item: "test_on_jax" not in item.nodeid)


@pytest.fixture(scope="session")
def small_split() -> Split:
    rng = np.random.default_rng(0)
    labels = np.arange(64, dtype=np.int32) % 10
    images = (rng.integers(0, 60, (64, 32, 32, 3)) + labels[:, None, None, None] * 19).astype(np.uint8)
    return Split("final", images, labels, images[:40], labels[:40], "test", tuple("abcdefghij"))


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """scikit-learn's handwritten digits: real images that are on every machine."""
    return load("digits")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying it none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", str(path.parent / "artifacts"))
    return path


@pytest.fixture
def mlruns(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh mlruns folder, for this process and the commands it starts."""
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    monkeypatch.setenv("HARNESS_MLRUNS", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    SILENT.clear()
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


@pytest.fixture
def harness(mlruns: Path) -> Command:
    """Run the command line as a user does."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), env=os.environ | environment, capture_output=True, text=True, timeout=400
        )

    return run


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a command, in this process: thirty launches of the real one take minutes."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    return ended.value.code or 0, output.out, output.err


@pytest.fixture
def serve(mlruns: Path) -> Iterator[Callable[..., str]]:
    """Start a command that serves pages, as `command("ui")` does; returns its address once it answers at `page`."""
    servers = []

    def start(*words: str, page: str = "") -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        servers.append(subprocess.Popen([*words, "--port", str(port)], **quiet))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"http://127.0.0.1:{port}/{page}", timeout=5).ok:
                    break
            time.sleep(0.2)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.terminate()
        server.wait(60)


def document(completed: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def mlflow_runs(folder: Path) -> list[Any]:
    """Every run in the database of an mlruns folder but the published curve."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return [run for run in client.search_runs(experiments) if run.info.run_name != "published"]


def metric_history(folder: Path, run_id: str, name: str) -> list[tuple[int, float]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))
