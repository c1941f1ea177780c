"""The device and the precision that an engine uses on this machine."""

from typing import TYPE_CHECKING, cast, get_args

from harness.common.errors import BadInput
from harness.common.hardware import cpu_flags, has_gpu
from harness.common.lazy import lazy_import
from harness.config import Precision
from harness.engine.backend import import_keras

if TYPE_CHECKING:
    import jax
    import tensorflow as tf
else:
    jax = lazy_import("jax")
    tf = lazy_import("tensorflow")


def resolve_precision(asked: str, engine: str) -> Precision:
    """Return the precision that a `--precision` value means here.

    `auto` is bfloat16 if the hardware multiplies it: a GPU, or a CPU with avx512_bf16 or amx_bf16. On other CPUs
    bfloat16 is emulated, which is slower than float32, so `auto` is float32. It is float32 for JAX on any CPU. Raises
    BadInput for an unknown precision.
    """
    if asked in get_args(Precision):
        return cast(Precision, asked)
    if asked != "auto":
        raise BadInput(f"Invalid value --precision {asked}: it is auto, float32 or bfloat16.")
    return "bfloat16" if _multiplies_bfloat16(engine) else "float32"


def _multiplies_bfloat16(engine: str) -> bool:
    return sees_gpu(engine) or (engine == "tensorflow" and bool({"avx512_bf16", "amx_bf16"} & cpu_flags()))


def sees_gpu(engine: str) -> bool:
    """Whether the engine's framework finds a GPU."""
    # Importing the framework is slow, so ask it only if a driver says that there may be a GPU.
    if not has_gpu():
        return False
    import_keras(engine)
    if engine == "jax":
        return jax.default_backend() == "gpu"
    return bool(tf.config.list_physical_devices("GPU"))


def slow_engine_advice(engine: str) -> str:
    """Return advice for training with JAX without a GPU; empty if the engine is not slow here."""
    if engine != "jax" or sees_gpu("jax"):
        return ""
    if has_gpu():
        return (
            "This machine has an NVIDIA driver, but JAX sees no GPU: `.venv/bin/python -m pip install 'jax[cuda13]'` "
            "would let it."
        )
    return (
        "On a CPU, JAX trains this network at about a third of TensorFlow's speed: without a GPU, --engine tensorflow "
        "answers sooner (docs/engines.md)."
    )
