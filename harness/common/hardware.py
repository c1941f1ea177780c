"""What this machine computes with."""

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
    """The processor as it calls itself, and how many cores of it there are."""
    return f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def cpu_flags() -> set[str]:
    """The instruction sets that the processor says it has; empty where the system does not tell."""
    return set(_cpuinfo("flags").split())


def cores() -> list[int]:
    """The processor cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, each as `$CUDA_VISIBLE_DEVICES` names it; no framework is asked."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [each.strip() for each in chosen.split(",") if each.strip()]
    try:
        return [str(number) for number in range(len(os.listdir("/proc/driver/nvidia/gpus")))]
    except OSError:
        return []


def has_gpu() -> bool:
    """Whether a driver says that there is an NVIDIA GPU; no framework is asked."""
    # In some containers only the device is there.
    return any(os.path.exists(path) for path in ("/proc/driver/nvidia/version", "/dev/nvidiactl"))
