"""The numeric tests pass on other CPUs too, as far as this one can act as another: fewer instructions, fewer cores.

A limit that holds on one CPU alone is to fail here, and not first at someone who has another.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_on_jax import on_jax

TESTS = Path(__file__).parent

#: How many cores there are, and what the compilers and kernels of JAX, TensorFlow and NumPy are told to do without.
CPUS = {
    "one core": (1, {}),
    "nothing newer than AVX2": (
        2, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
    ),
    "nothing newer than SSE4": (
        2, {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem"},
    ),
    "no oneDNN": (2, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system lets nobody choose cores"),
]


@pytest.fixture(params=CPUS)
def cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name for what the processes that a test starts are confined to."""
    count, settings = CPUS[request.param]
    ours = os.sched_getaffinity(0)
    if len(ours) < count:
        pytest.skip(f"there are not {count} cores")
    for name, value in settings.items():
        monkeypatch.setenv(name, f"{os.environ.get(name, '')} {value}" if name == "XLA_FLAGS" else value)
    os.sched_setaffinity(0, sorted(ours)[:count])
    yield f"{count} of {len(ours)} cores, " + (
        " ".join(f"{n}={v!r}" for n, v in settings.items()) or "all instructions"
    )
    os.sched_setaffinity(0, ours)


def under(cpu: str, test, *arguments: str) -> None:
    """Run a test that starts a process, and say of its failure on which CPU that was."""
    said = None
    try:
        test(*arguments)
    except pytest.fail.Exception as failed:
        said = str(failed)
    if said is not None:
        pytest.fail(f"With {cpu} this fails; does a limit hold on some CPUs alone?\n{said}", pytrace=False)


def on_tensorflow(*options: str) -> None:
    files = [str(TESTS / "test_engine.py"), str(TESTS / "test_probes.py")]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "not slow", *files, *options]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        pytest.fail(ran.stdout + ran.stderr, pytrace=False)


def but(*names: str) -> tuple[str, str]:
    """The options of pytest that leave out the tests with these words in their names."""
    return "-k", f"not ({' or '.join(names)})"


# Left out is what compares no numbers, and takes most of the time.


def test_tensorflow_computes_the_same(cpu: str) -> None:
    # A test in bfloat16 asks TensorFlow for what it sees in the CPU, and finds that oneDNN was told to do without.
    words = ("bfloat16", "leaves_no_trace", "every_optimizer", "seeds", "stands_where", "18_layers")
    under(cpu, on_tensorflow, *but(*words))


def test_jax_computes_the_same(cpu: str) -> None:
    words = ("compiles_nothing", "memory", "bfloat16", "dropout", "synced", "largest")
    under(cpu, on_jax, "test_jax_engine.py", *but(*words))


def test_the_engines_agree(cpu: str) -> None:
    under(cpu, on_jax, "test_agreement.py")
