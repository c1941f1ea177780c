"""What this machine computes with."""

import os
import platform
from typing import cast, get_args

from harness.common.errors import BadInput
from harness.config import Precision


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


def resolve_precision(asked: str, engine: str) -> Precision:
    """`auto` is bfloat16 where the hardware multiplies it: a GPU, or a CPU with avx512_bf16 or amx_bf16.

    Elsewhere bfloat16 is emulated and several times slower than float32, so `auto` is float32; and so it is for JAX on
    any CPU.
    """
    if asked in get_args(Precision):
        return cast(Precision, asked)
    if asked != "auto":
        raise BadInput(f"Invalid value --precision {asked}: it is auto, float32 or bfloat16.")
    return "bfloat16" if _multiplies_bfloat16(engine) else "float32"


def _multiplies_bfloat16(engine: str) -> bool:
    if sees_gpu(engine):
        return True
    flags = _cpuinfo("flags").split()
    return engine == "tensorflow" and ("avx512_bf16" in flags or "amx_bf16" in flags)


def sees_gpu(engine: str) -> bool:
    """Whether the engine's framework finds a GPU."""
    # Importing it takes seconds: it is asked only where a driver says that there may be one.
    if not has_gpu():
        return False
    from harness.engine.backend import import_keras

    import_keras(engine)
    if engine == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


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
