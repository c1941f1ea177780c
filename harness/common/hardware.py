"""The processor, the cores and the GPUs of this machine."""

import os
import platform


def _cpuinfo(field: str) -> str:
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith(field)), ":")
    except OSError:
        return ""
    return line.split(":", 1)[1].strip()


def cpu_name() -> str:
    """Return the name of the processor and its number of cores."""
    return f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def cpu_flags() -> set[str]:
    """Return the instruction sets of the processor; empty if the operating system does not list them."""
    return set(_cpuinfo("flags").split())


def cores() -> list[int]:
    """Return the numbers of the processor cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, by their names in `$CUDA_VISIBLE_DEVICES`.

    Imports no framework.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [each.strip() for each in chosen.split(",") if each.strip()]
    try:
        return [str(number) for number in range(len(os.listdir("/proc/driver/nvidia/gpus")))]
    except OSError:
        return []


def has_gpu() -> bool:
    """Whether the NVIDIA driver reports a GPU. Imports no framework."""
    # Some containers have only the device file.
    return any(os.path.exists(path) for path in ("/proc/driver/nvidia/version", "/dev/nvidiactl"))
