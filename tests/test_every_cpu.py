"""The numeric tests under the instruction sets and numbers of cores of other machines.

A limit that was measured on one processor may not hold on the next: what is compared has to agree on all of them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.common.hardware import cores

HERE = Path(__file__).parent

#: What each machine is told: oneDNN's and XLA's instruction sets, and how many cores there are.
MACHINES = {
    "AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, 2),
    "SSE4": ({"ONEDNN_MAX_CPU_ISA": "SSE41", "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}, 2),
    "AVX-512 without bfloat16": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "XLA_FLAGS": "--xla_cpu_max_isa=AVX512"}, 2),
    "one core": ({}, 1),
    "two cores": ({}, 2),
}
TENSORFLOW = ("test_engine.py", "test_probes.py", "test_schedule.py")
JAX = ("test_on_jax.py::test_the_engines_agree", "test_on_jax.py::test_the_engine")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("files", [TENSORFLOW, JAX], ids=["tensorflow", "jax"])
def test_the_numbers_agree_on_every_processor(machine: str, files: tuple[str, ...]) -> None:
    told, count = MACHINES[machine]
    if len(cores()) < count:
        pytest.skip(f"needs {count} cores")
    environment = os.environ | told
    command = [sys.executable, "-m", "pytest", "-n", "0", *(str(HERE / file) for file in files)]
    if hasattr(os, "sched_setaffinity"):
        chosen = ",".join(map(str, cores()[:count]))
        command = ["taskset", "-c", chosen, *command]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"on a machine with {machine}:\n{ran.stdout[-8000:]}{ran.stderr[-2000:]}"
