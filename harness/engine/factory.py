"""The engine of a configuration."""

from typing import TYPE_CHECKING

from harness.common.lazy import lazy_import
from harness.config import RunConfig
from harness.data import Split
from harness.engine.backend import import_keras
from harness.engine.protocol import Engine

if TYPE_CHECKING:
    from harness.engine.jax import engine as jax_engine
    from harness.engine.tensorflow import engine as tensorflow_engine
else:
    # Each imports its framework, and Keras takes one framework per process.
    jax_engine = lazy_import("harness.engine.jax.engine")
    tensorflow_engine = lazy_import("harness.engine.tensorflow.engine")


def open_engine(config: RunConfig, split: Split) -> Engine:
    """The engine that a configuration names, for a split. Raises BadInput where there is no such engine."""
    import_keras(config.engine)
    if config.engine == "jax":
        return jax_engine.JaxEngine(config, split)
    return tensorflow_engine.TensorFlowEngine(config, split)
