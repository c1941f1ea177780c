"""The training-time twin of Keras's dropout: a rate that may change from step to step."""

from typing import Any

import keras


class TracedDropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose rate, while training, is the variable `traced_rate`.

    A Keras rate is a Python constant, frozen into the compiled step; this one can rise during a run, and runs that
    differ in it share the step. A layer made with rate 0 is no operation at all.
    """

    def __init__(self, rate: float, seed: int | None = None, **settings: Any) -> None:
        super().__init__(0.0, **settings)
        self.rate, self.seed = rate, seed
        if rate > 0:
            # Keras would number its generators, and which one is whose would depend on where else there is dropout.
            self.seed_generator = keras.random.SeedGenerator(seed, name=f"{self.name}_seed")

    def build(self, input_shape: Any) -> None:
        if self.rate > 0:
            self.traced_rate = self.add_weight(
                name="traced_rate", shape=(), initializer="zeros", trainable=False, autocast=False
            )
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        # Drawn in float32: bfloat16 has 128 numbers between 0 and 1, so few that the rate would be another one.
        draw = keras.random.uniform(keras.ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        keep = keras.ops.cast(1 - self.traced_rate, inputs.dtype)
        return keras.ops.where(draw >= self.traced_rate, inputs / keep, 0)
