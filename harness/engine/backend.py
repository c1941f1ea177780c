"""Import Keras on the chosen framework, with the settings that the harness needs and without log output."""

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import util
from typing import TYPE_CHECKING

import threadpoolctl

from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.hardware import has_gpu
from harness.common.lazy import lazy_import
from harness.config import Recipe, RunConfig
from harness.data import Split
from harness.engine.protocol import Engine

if TYPE_CHECKING:
    from harness.engine.jax import engine as jax_engine
    from harness.engine.tensorflow import engine as tensorflow_engine
else:
    # Each module imports its framework, and Keras uses one framework per process.
    jax_engine = lazy_import("harness.engine.jax.engine")
    tensorflow_engine = lazy_import("harness.engine.tensorflow.engine")


#: The engines. Each has the name of its framework.
ENGINES = ("tensorflow", "jax")

#: Keras imports these, if installed, for features that the harness does not use. That is slow (docs/speed.md).
NOT_NEEDED = ("matplotlib", "pandas", "sklearn")


#: Variables of the environment that would change the numbers of a run, or compute it in another precision than the one
#: in its key. Some people export them for other programs, TF_ENABLE_ONEDNN_OPTS to silence a message of TensorFlow.
CHANGE_NUMBERS = (
    "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "KERAS_NNX_ENABLED", "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS", "TF_ENABLE_ONEDNN_SPMM",
    "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "TF_SET_ONEDNN_FPMATH_MODE", "TF_XLA_FLAGS",
)  # fmt: skip

#: Of JAX's own variables, the beginnings of those that name devices, keep compiled programs, or only say more. Any
#: setting of JAX can be given as a variable; of the others many change numbers, and some make right programs fail.
HARMLESS = (
    "JAX_COMPILATION_CACHE", "JAX_CUDA_VISIBLE", "JAX_ENABLE_COMPILATION_CACHE", "JAX_LOG", "JAX_PERSISTENT_CACHE",
    "JAX_PLATFORM", "JAX_TRACEBACK",
)  # fmt: skip


def changes_numbers(variable: str) -> bool:
    """Return whether a variable of the environment may change the numbers of a run.

    XLA_FLAGS may too, but names the folder of CUDA on some machines: it is kept, and recorded with each run.
    """
    return variable in CHANGE_NUMBERS or (variable.startswith("JAX_") and not variable.startswith(HARMLESS))


def forget_what_changes_numbers() -> None:
    """Remove the variables of the environment that may change the numbers of a run, for child processes too."""
    for name in filter(changes_numbers, list(os.environ)):
        del os.environ[name]


def automatic_engine() -> str:
    """Return `jax` on a machine with an NVIDIA GPU that JAX is installed for, else `tensorflow`.

    JAX is the engine that was measured on a GPU; TensorFlow has not been run on one (docs/engines.md).
    """
    return (
        "jax"
        if has_gpu() and any(util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
        else "tensorflow"
    )


def default_engine() -> str:
    """Return `$KERAS_BACKEND` if it names an engine, else `tensorflow`."""
    named = os.environ.get("KERAS_BACKEND")
    return named if named in ENGINES else "tensorflow"


def import_keras(engine: str, threads: int | None = None) -> None:
    """Import Keras on an engine's framework, and find the framework's devices.

    threads: how many it shall compute with on a processor, however many cores there are; None leaves it as it is, which
    is a recipe's default at first.

    Raises HarnessError if the framework is not installed or this process already uses another one, or another number
    of threads, and BadInput if there is no such engine.
    """
    if engine not in ENGINES:
        raise BadInput(f"There is no engine called {engine!r}: --engine is {' or '.join(ENGINES)}.")
    loaded = sys.modules.get("keras")
    if loaded is not None:
        if loaded.backend.backend() != engine:
            raise HarnessError(
                f"This process computes with {loaded.backend.backend()} already, and Keras takes one framework per "
                f"process; give --engine {engine} in a command of its own."
            )
        if threads and not has_gpu() and not _set_threads(engine, threads):
            raise HarnessError(
                f"This process computes with another number of threads than {threads} already; a run with "
                f"threads={threads} needs a command of its own."
            )
        return
    # Scripts that train without the command line come only by here.
    forget_what_changes_numbers()
    os.environ["KERAS_BACKEND"] = engine
    threads = threads or Recipe.threads
    threadpoolctl.threadpool_limits(threads, "blas")
    if engine == "tensorflow":
        _import_tensorflow(threads)
    else:
        _import_jax(threads)
    _as_shipped()
    # Building a network collects garbage (Keras clears its session), and a collection looks at every object there is:
    # those of the imported modules are most of them, and are never freed.
    gc.freeze()


def _set_threads(engine: str, threads: int) -> bool:
    """Let the framework, which is imported, compute with so many threads on a processor; return whether it does now."""
    if engine == "jax":
        return os.environ.get("NPROC") == str(threads)
    threading = importlib.import_module("tensorflow").config.threading
    with contextlib.suppress(RuntimeError):  # it has computed something
        threading.set_intra_op_parallelism_threads(threads)
    return bool(threading.get_intra_op_parallelism_threads() == threads)


def _as_shipped() -> None:
    """Set Keras's options to their defaults, because the user's keras.json could change the numbers of a run."""
    config = importlib.import_module("keras").config
    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")


def _import_tensorflow(threads: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        # TensorFlow imports JAX if it is installed, for a converter that is not used here.
        with _quietly((*NOT_NEEDED, "scipy", "jax")):
            tf = importlib.import_module("tensorflow")
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            # Several processes may share a GPU, and by default TensorFlow's first process takes all of its memory.
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            importlib.import_module("keras")
    except ImportError as error:
        raise HarnessError(
            f"TensorFlow cannot be imported ({error}). `make install` installs what requirements.lock names; on a "
            f"machine where it does not exist, --engine jax does the same with JAX."
        ) from error


def _import_jax(threads: int) -> None:
    # XLA has no other setting for the number of its threads on a processor.
    os.environ["NPROC"] = str(threads)
    # Resuming a killed run must give the same numbers bit for bit, also on a GPU.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    # A command and its workers, or the contenders of the bench, may share a GPU, and by default JAX's first process
    # takes three quarters of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        # Keras on JAX imports TensorFlow if it is installed, for input pipelines that are not used here.
        with _quietly((*NOT_NEEDED, "tensorflow")):
            jax = importlib.import_module("jax")
            jax.config.update("jax_compilation_cache_dir", str(paths.cache() / "jax"))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
            jax.devices()
            importlib.import_module("keras")
    except ImportError as error:
        missing = (error.name or "jax").partition(".")[0]
        if missing not in ("jax", "jaxlib"):
            raise HarnessError(
                f"Keras cannot be imported for JAX: there is no usable {missing} ({error}). "
                f"`{sys.executable} -m pip install keras` gets what it needs."
            ) from error
        raise HarnessError(
            f"JAX cannot be imported ({error}). `.venv/bin/python -m pip install jax` gets it for the CPU, "
            f"`jax[cuda13]` for an NVIDIA GPU; --engine tensorflow needs neither."
        ) from error
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise HarnessError(
            f"JAX finds no device of the kind that JAX_PLATFORMS={asked} asks for ({first_line(error)}). For an NVIDIA "
            f"GPU it needs a driver (`nvidia-smi` must answer) and `jax[cuda13]`; unset JAX_PLATFORMS to take what "
            f"there is."
        ) from error


@contextlib.contextmanager
def _quietly(hidden: tuple[str, ...]) -> Iterator[None]:
    """Hide some modules during an import, and the many log lines that C++ code writes to file descriptor 2.

    No setting silences these lines early enough, so the descriptor is redirected to a file during the import. The lines
    are shown only if the import fails.
    """
    names = [name for name in hidden if name not in sys.modules]
    # Imported modules are never freed, so garbage collection during the import only costs time (docs/speed.md).
    gc.disable()
    # None makes an import of that name fail, as if the module were not installed.
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except BaseException:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise
        finally:
            gc.enable()
            for name in names:
                del sys.modules[name]
            os.dup2(stderr, 2)
            os.close(stderr)


def open_engine(config: RunConfig, split: Split) -> Engine:
    """Return the engine of a configuration, for the images of a split. Raises as `import_keras` does."""
    import_keras(config.engine, config.recipe.threads)
    if config.engine == "jax":
        return jax_engine.JaxEngine(config, split)
    return tensorflow_engine.TensorFlowEngine(config, split)
