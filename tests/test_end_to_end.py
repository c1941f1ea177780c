"""Whole runs through the command line on real images, and what happens when they are cut short."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from conftest import Command, command, document, metric_history, mlflow_runs

from harness.common.paths import PROJECT
from harness.engine.backend import import_keras

import_keras("tensorflow")

import keras  # noqa: E402

SMOKE = ("run", "baseline", "--budget", "smoke")
EPOCHS = 3


def deterministic(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """A history without its wall-clock values."""
    wall_clock = {"timestamp", "images_per_second", "epoch_seconds", "probe_seconds"}
    return [{name: value for name, value in row.items() if name not in wall_clock} for row in rows]


def checkpoint(folder: Path, key: str) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    with np.load(folder / "runs" / key / "checkpoint.npz") as file:
        arrays = dict(file)
    return arrays, deterministic(json.loads(str(arrays.pop("history"))))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, template: Path) -> tuple[dict, tuple]:
    """The report and the checkpoint of a smoke run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "CIFAR10_DIR")}
    environment["HARNESS_MLRUNS"] = str(folder)
    child = subprocess.Popen(command(*SMOKE, "--json"), env=environment, stdout=subprocess.PIPE, text=True)
    while child.poll() is None and not holds_the_run(folder, child):
        time.sleep(0.01)
    begin = time.monotonic()
    output, _ = child.communicate(timeout=400)
    report = json.loads(output) | {"seconds_with_the_lock": time.monotonic() - begin}
    return report, checkpoint(folder, report["runs"][0]["run_key"])


def assert_is_the_uninterrupted_run(mlruns: Path, report: dict, uninterrupted: tuple[dict, tuple]) -> None:
    whole, (arrays, history) = uninterrupted
    (run,), (reference,) = report["runs"], whole["runs"]
    assert run["weights_sha256"] == reference["weights_sha256"]
    assert (run["accuracy"], run["cross_entropy"]) == (reference["accuracy"], reference["cross_entropy"])
    got_arrays, got_history = checkpoint(mlruns, run["run_key"])
    assert got_history == history
    assert got_arrays.keys() == arrays.keys()
    assert all(np.array_equal(got_arrays[name], arrays[name]) for name in arrays)
    runs = mlflow_runs(mlruns)
    assert [r.info.status for r in runs] == ["FINISHED"]
    for name in ("train_loss", "test_accuracy"):
        wanted = [(row["epoch"], row[name]) for row in history]
        assert metric_history(mlruns, runs[0].info.run_id, name) == wanted
    assert len(metric_history(mlruns, runs[0].info.run_id, "accuracy")) == 1
    assert runs[0].data.params["learning_rate"]
    assert runs[0].data.tags["outcome"] == "finished"
    assert "reason" not in runs[0].data.tags
    assert len(runs[0].inputs.dataset_inputs) == len(runs[0].outputs.model_outputs) == 1


def test_a_run_its_records_and_its_second_call(harness: Command, mlruns: Path, tmp_path: Path) -> None:
    report = document(harness(*SMOKE, "--json"))
    (run,) = report["runs"]
    assert run["trained"]
    assert 0 <= run["accuracy"] <= 1
    assert report["variants"][0]["accuracy"]["verdict"] == "not compared"
    (tracked,) = mlflow_runs(mlruns)
    assert tracked.info.run_id == run["mlflow_run_id"]
    assert tracked.data.tags["run_key"] == run["run_key"]
    assert tracked.data.tags["weights_sha256"] == run["weights_sha256"]
    assert tracked.data.tags["data"] == report["data"]
    assert tracked.data.params["learning_rate"]
    assert tracked.inputs.dataset_inputs[0].dataset.name == report["data"]
    assert len(metric_history(mlruns, tracked.info.run_id, "train_loss")) == EPOCHS
    artifacts = Path(run["artifacts"])
    assert {"accuracy.png", "loss.png", "confusion.png", "probabilities.npz"} <= {p.name for p in artifacts.iterdir()}
    probabilities = np.load(artifacts / "probabilities.npz")["probabilities"]
    assert probabilities.shape == (100, 10)
    assert probabilities.dtype == np.float16

    again = document(harness(*SMOKE, "--json"))
    assert not again["runs"][0]["trained"]
    assert again["runs"][0]["weights_sha256"] == run["weights_sha256"]
    assert len(mlflow_runs(mlruns)) == 1

    from PIL import Image

    Image.new("RGB", (50, 70), "red").save(tmp_path / "red.png")
    predicted = document(harness("predict", str(tmp_path / "red.png"), "--json"))
    assert predicted["run_key"] == run["run_key"]
    top = predicted["images"][0]["top"]
    assert [t["probability"] for t in top] == sorted((t["probability"] for t in top), reverse=True)

    # Without its checkpoint it is done all the same, and its model can be had.
    assert "1 checkpoints" in harness("runs", "gc").stderr
    assert not document(harness(*SMOKE, "--json"))["runs"][0]["trained"]
    files = tmp_path / "model.keras", tmp_path / "card.md"
    assert harness("export", "--keras", str(files[0]), "--card", str(files[1])).returncode == 0
    assert files[0].stat().st_size > 1_000_000
    card = files[1].read_text()
    assert f"`{run['run_key']}`" in card
    assert f"| accuracy | {run['accuracy']:.4f}, 95 % interval over the images [" in card
    assert "| command | `harness run baseline --budget smoke " in card

    fresh = document(harness(*SMOKE, "--json", "--fresh"))
    assert fresh["runs"][0]["trained"]
    assert fresh["runs"][0]["weights_sha256"] == run["weights_sha256"]
    assert fresh["runs"][0]["mlflow_run_id"] != run["mlflow_run_id"]


@pytest.mark.slow
def test_mlflow_serves_a_model_over_http_and_keras_takes_bytes_too(
    harness: Command, mlruns: Path, tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = document(harness(*SMOKE, "--no-probe", "--json"))["runs"]
    assert harness("export", "--keras", str(tmp_path / "model.keras")).returncode == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    wanted = np.asarray(keras.models.load_model(tmp_path / "model.keras")(images))
    # As after `. .venv/bin/activate`: MLflow looks for uvicorn there.
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{mlruns / 'mlflow.db'}")
    model = ("--model-uri", f"runs:/{run['mlflow_run_id']}/model", "--env-manager", "local")
    address = serve(sys.executable, "-m", "mlflow", "models", "serve", *model, page="ping")
    answer = requests.post(f"{address}/invocations", json={"instances": images.tolist()}, timeout=60).json()
    np.testing.assert_allclose(answer["predictions"], wanted, atol=1e-5)


def test_a_server_of_one_s_own_is_told_the_same(
    harness: Command, mlruns: Path, tmp_path: Path, serve: Callable[..., str], uninterrupted
) -> None:
    database, artifacts = f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "artifacts"
    store = ("--backend-store-uri", database, "--artifacts-destination", str(artifacts))
    server = serve(sys.executable, "-m", "mlflow", "server", "--workers", "1", *store)
    there = {"MLFLOW_TRACKING_URI": server, "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
    (run,) = document(harness(*SMOKE, "--no-probe", "--json", **there))["runs"]
    assert run["url"].startswith(server)
    assert run["weights_sha256"] == uninterrupted[0]["runs"][0]["weights_sha256"]
    assert not (mlruns / "artifacts").exists()

    import mlflow

    client = mlflow.MlflowClient(server)
    tracked = client.get_run(run["mlflow_run_id"])
    assert tracked.info.status == "FINISHED"
    assert {"git_commit", "git_dirty", "run_key", "device"} <= tracked.data.tags.keys()
    assert any(name.startswith("system/") for name in tracked.data.metrics)
    assert len(client.get_metric_history(tracked.info.run_id, "train_loss")) == EPOCHS
    names = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
    assert {"accuracy.png", "confusion.png", "probabilities.npz"} <= names
    assert len(tracked.outputs.model_outputs) == 1
    (model,) = artifacts.rglob("MLmodel")
    assert "signature:" in model.read_text()
    assert not document(harness(*SMOKE, "--no-probe", "--json", **there))["runs"][0]["trained"]


def test_without_cifar10_the_baseline_says_so_and_runs_on_digits(harness: Command, tmp_path: Path) -> None:
    # Nowhere to look, and a download address that answers nothing.
    nowhere = {"HARNESS_CACHE": str(tmp_path / "cache"), "CIFAR10_URL": "http://127.0.0.1:9/none.tar.gz"}
    project = tmp_path / "project"
    for package in ("harness", "experiments"):
        shutil.copytree(PROJECT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), env=os.environ | nowhere, cwd=project, capture_output=True, text=True, timeout=300
        )

    shown = run("run", "baseline", "--budget", "smoke", "--json", "--set", "epochs=1")
    assert "CIFAR-10 was not found" in " ".join(shown.stderr.split())
    assert document(shown)["data"] == "digits"
    assert not document(shown)["variants"][0]["compared"]
    insists = run("run", "baseline", "--data", "cifar10")
    assert insists.returncode == 2
    assert "CIFAR10_DIR" in insists.stderr


def wait_for_epoch(mlruns: Path, epoch: int, child: subprocess.Popen) -> None:
    while child.poll() is None:
        for file in mlruns.glob("runs/*/checkpoint.npz"):
            with np.load(file) as arrays:
                if len(json.loads(str(arrays["history"]))) >= epoch:
                    return
        time.sleep(0.02)


def test_a_polite_kill_ends_the_run_and_the_next_call_goes_on(mlruns: Path, harness: Command, uninterrupted) -> None:
    child = subprocess.Popen(command(*SMOKE), stderr=subprocess.PIPE, text=True)
    wait_for_epoch(mlruns, 1, child)
    child.send_signal(signal.SIGTERM)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert "goes on from there" in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert [run.info.status for run in mlflow_runs(mlruns)] == ["KILLED"]
    assert_is_the_uninterrupted_run(mlruns, document(harness(*SMOKE, "--json")), uninterrupted)


def test_a_second_process_on_the_same_run_is_refused(mlruns: Path, harness: Command) -> None:
    first = subprocess.Popen(command(*SMOKE), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not list(mlruns.glob("runs/*/holder")):
        time.sleep(0.05)
    second = harness(*SMOKE)
    assert second.returncode == 1
    assert f"process {first.pid}" in " ".join(second.stderr.split())
    first.kill()
    first.wait()


def test_divergence_is_recorded_with_its_reason(mlruns: Path, harness: Command) -> None:
    shown = harness(*SMOKE, "--json", "--set", "learning_rate=1e30", "--set", "warmup=0")
    # It is a result: a program that goes on if the command succeeded finds it in the report.
    (run,) = document(shown)["runs"]
    assert run["status"] == "diverged"
    assert "epoch 1" in run["reason"]
    (tracked,) = mlflow_runs(mlruns)
    assert tracked.info.status == "FAILED"
    assert tracked.data.tags["outcome"] == "diverged"
    assert tracked.data.tags["reason"] == run["reason"]


def holds_the_run(mlruns: Path, child: subprocess.Popen) -> bool:
    return any(f"process {child.pid} " in file.read_text() for file in mlruns.glob("runs/*/holder"))


def kill_at_random(mlruns: Path, kills: int, seed: int, harness: Command, uninterrupted: tuple[dict, tuple]) -> None:
    """Kill -9 the run, again and again, at moments spread over all it does once it has the run's lock.

    A run that gets to its end between two kills must be the uninterrupted one; then another is begun, in a folder
    of its own.
    """
    rng = random.Random(seed)
    seconds = uninterrupted[0]["seconds_with_the_lock"]
    killed, places = 0, map(mlruns.joinpath, map(str, itertools.count()))
    place = next(places)
    while killed < kills:
        os.environ["HARNESS_MLRUNS"] = str(place)
        child = subprocess.Popen(command(*SMOKE), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and not holds_the_run(place, child):
            time.sleep(0.01)
        try:
            assert child.wait(timeout=rng.uniform(0, seconds)) == 0
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            killed += 1
            if (place / "mlflow.db").exists() and not list(place.glob("runs/*/result.json")):
                assert all(run.info.status != "FINISHED" for run in mlflow_runs(place))
        else:
            assert_is_the_uninterrupted_run(place, document(harness(*SMOKE, "--json")), uninterrupted)
            # Not by the number of kills: a run that ends before the first one would be begun again where it is done.
            place = next(places)
    os.environ["HARNESS_MLRUNS"] = str(place)
    assert_is_the_uninterrupted_run(place, document(harness(*SMOKE, "--json")), uninterrupted)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Confine the commands that a test starts to one core."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, and a system that lets a process choose one")
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(ours)})
    yield
    os.sched_setaffinity(0, ours)


def test_the_number_of_cores_changes_nothing(mlruns: Path, harness: Command, uninterrupted, one_core: None) -> None:
    report = document(harness(*SMOKE, "--json", TF_NUM_INTRAOP_THREADS="1", OMP_NUM_THREADS="1"))
    assert_is_the_uninterrupted_run(mlruns, report, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [("--engine", "jax"), ("--set", "first_layer=whitened", "--precision", "bfloat16"), ("--set", "threads=1")]
)
def test_the_number_of_cores_changes_no_other_run(
    mlruns: Path, template: Path, harness: Command, request: pytest.FixtureRequest, more: tuple[str, ...]
) -> None:
    reports = [document(harness(*SMOKE, "--json", *more))]
    request.getfixturevalue("one_core")
    other = mlruns.with_name("other")
    other.mkdir()
    shutil.copy(template, other / "mlflow.db")
    reports.append(document(harness(*SMOKE, "--json", *more, HARNESS_MLRUNS=str(other))))
    ((one,), (other_one,)) = (report["runs"] for report in reports)
    assert one["weights_sha256"] == other_one["weights_sha256"]


def test_five_kills_change_nothing(mlruns: Path, harness: Command, uninterrupted) -> None:
    kill_at_random(mlruns, 5, 1, harness, uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_five_kills_change_nothing(mlruns: Path, harness: Command, uninterrupted) -> None:
    kill_at_random(mlruns, 25, 2, harness, uninterrupted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 9 MB: room for a database and one checkpoint, and no more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_explained_and_the_checkpoint_intact(
    harness: Command, mlruns: Path, small_disk: Path, template: Path, uninterrupted
) -> None:
    shutil.copy(template, small_disk / "mlflow.db")
    full = harness(*SMOKE, HARNESS_MLRUNS=str(small_disk))
    assert full.returncode == 1, full.stderr
    assert "Traceback" not in full.stderr
    assert "the same command" in " ".join(full.stderr.split())
    # What is on the full disk is a good beginning: with room, the run ends as if nothing had happened.
    shutil.copytree(small_disk / "runs", mlruns / "runs")
    (begun,) = mlruns.glob("runs/*/checkpoint.npz")
    assert begun.stat().st_size > 1_000_000
    for file in mlruns.glob("runs/*/mlflow.json"):
        file.unlink()
    assert_is_the_uninterrupted_run(mlruns, document(harness(*SMOKE, "--json")), uninterrupted)
