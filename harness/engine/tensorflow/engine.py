"""The TensorFlow engine. It writes states into the variables of a compiled program and reads the new ones."""

from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from harness.common.hardware import cpu_name
from harness.config import Network, RunConfig
from harness.data import Split
from harness.engine.network import PixelStatistics, training_flops
from harness.engine.pixels import pixels_of
from harness.engine.probes import Probes, gradient_rows, probe_images, scaled
from harness.engine.protocol import State, TrainMetrics
from harness.engine.state import Structure, evaluated, export, structure_of
from harness.engine.tensorflow.probe_passes import TensorFlowPasses
from harness.engine.tensorflow.program import Program, settings_of


class TensorFlowEngine:
    """See `harness.engine.protocol.Engine`."""

    def __init__(self, config: RunConfig, split: Split) -> None:
        self.config, self.split = config, split
        self._pixels = pixels_of(split)
        self._settings = settings_of(config, self._pixels)
        self._program = _program(structure_of(config))
        self.device = device_name()
        self.flops_per_image = training_flops(self._program.model)

    def initial_state(self) -> State:
        return self._program.initial_state(self.config, self.split)

    def train_epoch(
        self, state: State, epoch: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[State, TrainMetrics]:
        self._write(state)
        metrics = self._program.train_epoch(self.config, self._settings, self.split, epoch, on_step)
        return self._read(), metrics

    def evaluate(self, state: State, images: np.ndarray) -> np.ndarray:
        self._write(evaluated(state))
        return self._program.predict(images, self._settings)

    def probe(self, before: State, after: State, epoch: int) -> dict[str, float]:
        self._write(before)
        self._program.train_epoch(self.config, self._settings, self.split, epoch, steps=1)
        probes = _probes(self.config.network, self.config.recipe.label_smoothing, self._pixels, self.split)
        return probes.measure(before, self._read(), after)

    def export(self, state: State) -> keras.Model:
        return export(self.config, self._pixels, state)

    def _write(self, state: State) -> None:
        for name, variable in self._program.variables.items():
            variable.assign(state[name])

    def _read(self) -> State:
        return {name: variable.numpy() for name, variable in self._program.variables.items()}


#: All experiments together need 14 programs, of about 30 MB each.
PROGRAMS = 16


@lru_cache(maxsize=PROGRAMS)
def _program(structure: Structure) -> Program:
    """Return the program of a structure. It is cached, because compiling is slow; runs differ only in its arguments."""
    return Program(structure)


@lru_cache(maxsize=PROGRAMS)
def _probes(network: Network, label_smoothing: float, pixels: PixelStatistics, split: Split) -> Probes:
    images, labels = probe_images(split)
    rows = gradient_rows(labels, len(split.train_images))
    return Probes(_passes(network), label_smoothing, scaled(images, network, pixels), labels, rows)


@lru_cache(maxsize=PROGRAMS)
def _passes(network: Network) -> TensorFlowPasses:
    return TensorFlowPasses(network)


def device_name() -> str:
    """Return the name of the GPU or, without one, of the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return cpu_name()
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
