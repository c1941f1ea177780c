"""The bench's arithmetic and its pipes. What is fast is not tested: that is what the bench is for."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from harness.commands.bench import bench
from harness.commands.bench.child import Child
from harness.commands.bench.document import TARGETS, Measurements, Target, derive
from harness.common.errors import HarnessError

MEASURED = Measurements(
    images_per_s={
        "harness": [700.0, 660.0, 100.0, 680.0, 670.0],  # one round was disturbed
        "keras_fit": [200.0, 210.0, 190.0],
        "keras_fit_no_autotune": [300.0, 290.0, 268.0],
        "torch": [560.0, 570.0, 580.0],
        "torch_compile": [650.0, 640.0, 660.0],
    },
    gflop_per_s={"float32": [200.0, 210.0, 205.0], "bfloat16": [353.0, 340.0, 360.0]},
    first_step_s=[9.0, 8.0, 13.0],
    peak_memory_gb={"engine": 1.4, "command": 1.9},
    precision="bfloat16",
    flops_per_image=400_000_000,
)


def without(name: str) -> Measurements:
    rest = {other: rounds for other, rounds in MEASURED.images_per_s.items() if not other.startswith(name)}
    return dataclasses.replace(MEASURED, images_per_s=rest)


def reached(document: dict[str, Any]) -> dict[str, bool | None]:
    return {target["key"]: target["reached"] for target in document["targets"]}


def test_rates_are_medians_and_ratios_are_of_medians() -> None:
    document = derive(MEASURED)
    assert document["images_per_s"] == 670
    assert document["ratio_vs_keras_fit"] == pytest.approx(670 / 200)
    assert document["ratio_vs_keras_fit_no_autotune"] == pytest.approx(670 / 290)
    assert document["ratio_vs_torch"] == pytest.approx(670 / 570)
    assert document["first_step_s"] == 9
    assert document["peak_memory_gb"] == 1.9
    assert document["contenders"]["torch"] == {"images_per_s": 570, "rounds": [560, 570, 580]}


@pytest.mark.parametrize(("precision", "rate"), [("bfloat16", 353), ("float32", 205)])
def test_share_of_peak_is_of_the_precision_that_ran(precision: Any, rate: float) -> None:
    document = derive(dataclasses.replace(MEASURED, precision=precision))
    assert document["share_of_peak"] == pytest.approx(670 * 0.4 / rate)
    assert document["share_of_bfloat16_rate"] == pytest.approx(670 * 0.4 / 353)
    assert precision in document["share_of_peak_is_of"]
    assert any("does not multiply bfloat16" in note for note in document["notes"]) == (precision == "float32")


def test_without_torch_its_ratio_is_null_and_its_target_open() -> None:
    document = derive(without("torch"))
    assert json.loads(json.dumps(document))["ratio_vs_torch"] is None
    assert reached(document)["ratio_vs_torch"] is None
    assert reached(document)["ratio_vs_keras_fit"] is True


def test_every_target_is_judged() -> None:
    assert reached(derive(MEASURED)) == dict.fromkeys((target.key for target in TARGETS["tensorflow"]), True)
    slow = {name: [100.0] for name in MEASURED.images_per_s} | {"torch_compile": [101.0]}
    late = dataclasses.replace(MEASURED, images_per_s=slow, first_step_s=[12.1], peak_memory_gb={"engine": 3.0})
    assert reached(derive(late)) == dict.fromkeys((target.key for target in TARGETS["tensorflow"]), False)


@pytest.mark.parametrize(
    ("sense", "below", "at", "above"),
    [(">=", False, True, True), (">", False, False, True), ("<=", True, True, False), ("<", True, False, False)],
)
def test_a_target_at_its_limit(sense: str, below: bool, at: bool, above: bool) -> None:
    target = Target("key", "what", sense, 2.0)
    assert [target.reached(value) for value in (1.9, 2.0, 2.1, None)] == [below, at, above, None]


def on_a_gpu(batch_size: int) -> Measurements:
    rates = {"harness": [500_000.0], "keras_fit": [110_000.0], "keras_fit_128": [90_000.0], "torch_compile": [4e5]}
    return dataclasses.replace(
        MEASURED, images_per_s=rates, engine="jax", batch_size=batch_size, copy_gb_per_s=[3000.0, 4000.0, 3500.0],
        convolved_per_image=172_032,
    )  # fmt: skip


def test_a_gpu_is_held_against_its_memory_and_keras_at_the_usual_batch() -> None:
    document = derive(on_a_gpu(512))
    assert document["ratio_vs_keras_fit_128"] == pytest.approx(5.56, abs=0.01)
    assert reached(document) == {"ratio_vs_keras_fit_128": True, "ratio_vs_torch_compile": True}
    # 14 passes of 172,032 numbers of two bytes: an epoch of 50,000 takes 0.069 s at 3,500 GB/s, and took 0.1 s.
    assert document["share_of_memory_rate"] == pytest.approx(0.688, abs=0.001)
    usual = derive(on_a_gpu(128))
    assert usual["ratio_vs_keras_fit_128"] == usual["ratio_vs_keras_fit"] == pytest.approx(4.55, abs=0.01)
    assert reached(usual)["ratio_vs_keras_fit_128"] is False
    assert derive(MEASURED)["share_of_memory_rate"] is None


@pytest.mark.parametrize("torch_is_there", [True, False])
def test_the_table_shows_what_was_missed(torch_is_there: bool, capsys: pytest.CaptureFixture[str]) -> None:
    measured = MEASURED if torch_is_there else without("torch")
    document = derive(dataclasses.replace(measured, first_step_s=[20.0]))
    for name, contender in document["contenders"].items():
        trial = {"trial_images_per_s": {"bfloat16": 560.0, "float32": 300.0}}
        contender |= {"label": bench.LABELS[name], "about": {"precision": "bfloat16"} | trial}
    document |= {"n": 5, "batch_size": 128, "images_per_round": 2560, "hardware": "a CPU", "data": "cifar10"}
    document |= {"date": "2026-01-01", "first_round_s": 9.0, "quiet": "It was quiet.", "file": "bench.json"}
    bench.print_bench(document)
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "first training step" in line)
    assert "20.0 s" in line
    assert "no" in line.split()
    assert "It was quiet." in text
    assert ("not measured" in text) != torch_is_there
    assert ("PyTorch is not installed" in text) != torch_is_there


def test_a_child_that_dies_is_reported_with_its_last_lines() -> None:
    with (
        Child("json.tool", "/nowhere/at/all") as child,
        pytest.raises(HarnessError, match=r"ended with code \d+ .*No such file"),
    ):
        child.ask()


def test_a_child_ends_when_its_parent_is_gone() -> None:
    code = (
        "from harness.commands.bench.child import Parent; p = Parent(); print('noise'); p.say({'ready': 1}); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        assert json.loads(child.stdout.readline()) == {"ready": 1}  # and not what was printed
        child.stdin.close()
        assert child.wait(timeout=10) == 1


def torch_alone() -> Any:
    """PyTorch, in a process without TensorFlow: the two together end in a crash. The bench keeps them apart."""
    if "tensorflow" in sys.modules:
        pytest.skip("TensorFlow is in this process already: run tests/test_bench.py by itself")
    return pytest.importorskip("torch")


def test_the_torch_network_is_the_same_network() -> None:
    torch = torch_alone()
    from harness.commands.bench.pytorch import build
    from harness.recipes import FAST

    network = build(FAST)
    assert sum(parameter.numel() for parameter in network.parameters()) == 548_010
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_torch_never_trains_on_an_empty_batch() -> None:
    """More steps than there are batches once doubled its speed: an empty batch costs nothing and gives a NaN."""
    torch = torch_alone()
    from harness.commands.bench.pytorch import Trainer
    from harness.recipes import FAST

    images = np.random.default_rng(0).random((9, 32, 32, 3), np.float32)
    trainer = Trainer(dataclasses.replace(FAST, batch_size=4), images, np.arange(9, dtype=np.int32))
    sizes = []
    trainer.model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    trainer.steps(5)
    assert sizes == [4] * 5
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
