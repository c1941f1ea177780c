"""The JAX engine. It passes states to a compiled program and returns the new ones."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import psutil

from harness.common.errors import HarnessError
from harness.common.hardware import cpu_name
from harness.config import Network, RunConfig
from harness.data import Split
from harness.engine.jax.arguments import settings_of, steps_of
from harness.engine.jax.probe_passes import JaxPasses
from harness.engine.jax.program import EVALUATION_BATCH, Program
from harness.engine.network import PixelStatistics, training_flops
from harness.engine.pixels import pixels_of
from harness.engine.probes import Probes, gradient_rows, probe_images, scaled
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import Structure, evaluated, export, structure_of

#: Compiled programs that are kept: more than the networks and optimizers of all experiments together.
PROGRAMS = 32

#: Advice for when no setting would reduce the memory enough.
ALONE = "see that no other process uses the device"


class JaxEngine:
    """See `harness.engine.protocol.Engine`."""

    def __init__(self, config: RunConfig, split: Split) -> None:
        self.config, self.split = config, split
        self._pixels = pixels_of(split)
        self._settings = settings_of(config, self._pixels)
        self._program = _program(structure_of(config, dropout_everywhere=True))
        self.device = device_name()
        self.flops_per_image = training_flops(self._program.model)

    def initial_state(self) -> State:
        return self._program.initial_state(self.config, self.split)

    def train_epoch(
        self, state: State, epoch: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[State, TrainMetrics]:
        steps = steps_of(self.config, epoch, len(self.split.train_images))
        size = self.config.recipe.batch_size
        with _memory_explained(f"the images and a batch of {size}", lambda: self._what_fits(size)):
            return self._program.train_epoch(state, _on_device(self.split), steps, self._settings, on_step)

    def evaluate(self, state: State, images: np.ndarray) -> np.ndarray:
        with _memory_explained("an evaluation", lambda: ALONE):
            batches = _eval_batches(self.split) if images is self.split.eval_images else in_batches(images)
            return self._program.predict(evaluated(state), batches, self._settings)[: len(images)]

    def probe(self, before: State, after: State, epoch: int) -> dict[str, float]:
        steps = steps_of(self.config, epoch, len(self.split.train_images))
        with _memory_explained("a look inside the network", lambda: "give --no-probe"):
            stepped = self._program.first_step(before, _on_device(self.split), steps, self._settings)
            probes = _probes(self.config.network, self.config.recipe.label_smoothing, self._pixels, self.split)
            return probes.measure(before, stepped, after)

    def _what_fits(self, size: int) -> str:
        """Return what to do if the memory is too small for a batch of that size."""
        # Shapes are enough: if the images themselves did not fit, putting them on the device would fail again.
        images = self.split.train_images
        data = jax.ShapeDtypeStruct(images.shape, jnp.uint8), jax.ShapeDtypeStruct(images.shape[:1], jnp.int32)
        fits = self._program.largest_batch(size, data, self._settings, _memory())
        return f"--set batch_size={fits} would fit, as the compiler counts" if fits else f"no batch would fit: {ALONE}"

    def export(self, state: State) -> keras.Model:
        return export(self.config, self._pixels, state)


@lru_cache(maxsize=PROGRAMS)
def _program(structure: Structure) -> Program:
    return Program(structure)


@lru_cache(maxsize=PROGRAMS)
def _probes(network: Network, label_smoothing: float, pixels: PixelStatistics, split: Split) -> Probes:
    images, labels = probe_images(split)
    passes = _passes(dataclasses.replace(network, input_scaling="raw"))
    rows = gradient_rows(labels, len(split.train_images))
    return Probes(passes, label_smoothing, scaled(images, network, pixels), labels, rows)


@lru_cache(maxsize=PROGRAMS)
def _passes(network: Network) -> JaxPasses:
    return JaxPasses(network)


@lru_cache(maxsize=2)
def _on_device(split: Split) -> tuple[Any, Any]:
    """Return training images and labels on the device. They are sent only once."""
    return jnp.asarray(split.train_images), jnp.asarray(split.train_labels, jnp.int32)


@lru_cache(maxsize=2)
def _eval_batches(split: Split) -> Any:
    return in_batches(split.eval_images)


def in_batches(images: np.ndarray) -> Any:
    """Return images [N, ...] as batches [M, B, ...] on the device, padded with copies of the last image.

    B is EVALUATION_BATCH, or N if that is smaller.
    """
    size = min(EVALUATION_BATCH, len(images))
    missing = -len(images) % size
    filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images
    return jnp.asarray(filled.reshape(-1, size, *images.shape[1:]))


@contextlib.contextmanager
def _memory_explained(what: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Turn an out-of-memory error into a HarnessError that says what did not fit and what to do."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise HarnessError(
            f"The memory of {device_name()}, {_memory() / 2**30:.1f} GiB for us, does not hold {what}: {remedy()}."
        ) from error


def _memory() -> int:
    """Return how many bytes of the device's memory this process may use."""
    of_device = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return of_device or psutil.virtual_memory().available


def device_name() -> str:
    """Return the name of the accelerator or, without one, of the CPU."""
    device = jax.devices()[0]
    return cpu_name() if device.platform == "cpu" else device.device_kind
