"""The device and the precision that an engine uses on this machine."""

from functools import cache
from typing import TYPE_CHECKING, cast, get_args

from harness.common.errors import BadInput
from harness.common.hardware import cores, cpu_flags, has_gpu
from harness.common.lazy import lazy_import
from harness.config import Precision, RunConfig
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


@cache
def check_precision(precision: Precision, engine: str) -> None:
    """Raise BadInput if this machine would compute a bfloat16 run in float32, under a label that is not true.

    TensorFlow on a CPU leaves out the conversion, without a word, where its build or the processor cannot do it.
    """
    if precision == "float32" or engine != "tensorflow" or sees_gpu(engine):
        return
    import_keras(engine)
    option = "auto_mixed_precision_onednn_bfloat16"
    set_before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        # bfloat16 keeps 8 bits: it rounds 1 + 2**-10 to 1.
        images, kernel = tf.fill((1, 8, 8, 8), 1 + 2**-10), tf.ones((3, 3, 8, 8))
        is_rounded = float(_convolution(images, kernel)[0, 0, 0, 0]) == 72
    except tf.errors.OpError:
        is_rounded = False
    finally:
        tf.config.optimizer.set_experimental_options({option: set_before})
    if not is_rounded:
        raise BadInput(
            "--precision bfloat16 is not computed by TensorFlow on this processor: give --precision float32."
        )


def _convolution(images: "tf.Tensor", kernel: "tf.Tensor") -> "tf.Tensor":
    # The conversion is made in compiled functions only.
    return tf.function(lambda x, y: tf.nn.conv2d(x, y, 1, "VALID"))(images, kernel)


def sees_gpu(engine: str) -> bool:
    """Whether the engine's framework finds a GPU."""
    # Importing the framework is slow, so ask it only if a driver says that there may be a GPU.
    if not has_gpu():
        return False
    import_keras(engine)
    if engine == "jax":
        return jax.default_backend() == "gpu"
    return bool(tf.config.list_physical_devices("GPU"))


def computing_threads(config: RunConfig) -> int:
    """Return how many threads compute a run here. On a GPU it is one for each core, and they do not change numbers."""
    return len(cores()) if sees_gpu(config.engine) else config.recipe.threads


def idle_cores_advice(threads: int, runs: int) -> str:
    """Return advice for runs that leave most cores of this machine idle; else empty."""
    if has_gpu() or runs * threads * 2 > len(cores()):
        return ""
    return (
        f"{runs * threads} of {len(cores())} cores compute: a run has {threads} threads, so that its numbers are the "
        f"same on any number of cores. --set threads={len(cores()) // runs} is faster, and its runs are a set of "
        f"their own."
    )


def unused_gpu_advice() -> str:
    """Return why TensorFlow does not see the GPU of this machine, and what to do."""
    why = "its CUDA libraries are not installed" if tf.test.is_built_with_cuda() else "this build of it has no CUDA"
    return (
        f"This machine has an NVIDIA GPU, but TensorFlow does not see it ({why}): this trains on the CPU. "
        f"`make install` installs JAX with CUDA, and --engine jax uses it."
    )


def slow_engine_advice(engine: str) -> str:
    """Return advice for training without the GPU that is there, or with JAX where there is none; else empty."""
    if sees_gpu(engine):
        return ""
    if engine == "tensorflow":
        return unused_gpu_advice() if has_gpu() else ""
    if has_gpu():
        return (
            "This machine has an NVIDIA driver, but JAX sees no GPU: `.venv/bin/python -m pip install 'jax[cuda13]'` "
            "would let it."
        )
    return (
        "On a CPU, JAX trains this network at about a third of TensorFlow's speed: without a GPU, --engine tensorflow "
        "answers sooner (docs/engines.md)."
    )
