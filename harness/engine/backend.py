"""Imports Keras and the framework under it the way every part of the harness wants them: chosen, and quietly."""

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.lazy import lazy_import
from harness.config import RunConfig
from harness.data import Split
from harness.engine.protocol import Engine

if TYPE_CHECKING:
    from harness.engine.jax import engine as jax_engine
    from harness.engine.tensorflow import engine as tensorflow_engine
else:
    # Each imports its framework, and Keras takes one framework per process.
    jax_engine = lazy_import("harness.engine.jax.engine")
    tensorflow_engine = lazy_import("harness.engine.tensorflow.engine")


#: The engines; each is named after the framework that it computes with.
ENGINES = ("tensorflow", "jax")

#: What Keras imports where it finds it, for wrappers and inputs that the harness does not use: seconds (docs/speed.md).
NOT_NEEDED = ("matplotlib", "pandas", "sklearn")


def default_engine() -> str:
    """`$KERAS_BACKEND` where it names an engine, or TensorFlow."""
    named = os.environ.get("KERAS_BACKEND")
    return named if named in ENGINES else "tensorflow"


def import_keras(engine: str) -> None:
    """Import Keras on an engine's framework, and find its devices.

    Raises HarnessError where it is not installed, or where this process computes with another one already; BadInput
    where there is no such engine.
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
        return
    os.environ["KERAS_BACKEND"] = engine
    if engine == "tensorflow":
        _import_tensorflow()
    else:
        _import_jax()
    _as_shipped()


def _as_shipped() -> None:
    """Let Keras have the settings that it ships with, whatever the user's keras.json says: they change numbers."""
    config = importlib.import_module("keras").config
    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")


def _import_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        # TensorFlow would import JAX, for a converter, where it finds it.
        with _quietly((*NOT_NEEDED, "scipy", "jax")):
            tf = importlib.import_module("tensorflow")
            # A GPU may be shared: TensorFlow would take all of its memory for the first process that comes.
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            importlib.import_module("keras")
    except ImportError as error:
        raise HarnessError(
            f"TensorFlow cannot be imported ({error}). `make install` installs what requirements.lock names; on a "
            f"machine where it does not exist, --engine jax does the same with JAX."
        ) from error


def _import_jax() -> None:
    # A killed run has to go on as if nothing had happened, bit for bit, on a GPU too.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    # A GPU may be shared, by a command and its workers or by the contenders of the bench: JAX would take three quarters
    # of its memory for the first that comes.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        # Keras on JAX would import TensorFlow for its input pipelines where it finds it.
        with _quietly((*NOT_NEEDED, "tensorflow")):
            jax = importlib.import_module("jax")
            jax.config.update("jax_compilation_cache_dir", str(paths.cache() / "jax"))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
            jax.devices()
            importlib.import_module("keras")
    except ImportError as error:
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
    """Import without some modules, and without the page of log lines that the C++ side writes to file descriptor 2.

    No setting can silence it early enough, so the descriptor is turned away meanwhile; what was written is shown only
    if the import fails.
    """
    names = [name for name in hidden if name not in sys.modules]
    # All of it is here to stay, and is not looked through for garbage again and again.
    gc.disable()
    # None makes an import of that name fail, which Keras takes for "not installed".
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
    """The engine that a configuration names, for a split. Raises BadInput where there is no such engine."""
    import_keras(config.engine)
    if config.engine == "jax":
        return jax_engine.JaxEngine(config, split)
    return tensorflow_engine.TensorFlowEngine(config, split)
