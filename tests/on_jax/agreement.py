"""What both engines are given in test_agreement.py: no dropout, no augmentation, every epoch one step of 32 images.

A smooth activation and a small learning rate, as rounding must not grow: a ReLU whose input is 0 but for rounding is
open in one engine and closed in the other, which alone changes gradients by 0.7 % here (with GELU: by 0.001 %), and at
a rate of 0.02 two runs that differ in rounding are apart by several per cent after 50 steps.
"""

import dataclasses

import numpy as np
from conftest import SMALL_RECIPE, small_config

from harness.config import Network
from harness.data import Split

STEPS = 50
CONFIG = dataclasses.replace(
    small_config(
        dataclasses.replace(
            SMALL_RECIPE, epochs=STEPS, batch_size=32, learning_rate=0.001, dropout=(0.0, 0.0, 0.0, 0.0), flip=False,
            shift=0,
        ),
        Network(activation="gelu"),
    ),
    train_images=32,
)  # fmt: skip

WITH_DROPOUT = dataclasses.replace(
    CONFIG, recipe=dataclasses.replace(CONFIG.recipe, dropout=(0.0, 0.1, 0.0, 0.5), optimizer="adamw")
)


def images() -> Split:
    """32 images whose brightness says their class, 40 to be judged by."""
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 10
    pixels = (rng.integers(0, 60, (40, 32, 32, 3)) + labels[:, None, None, None] * 19).astype(np.uint8)
    return Split("final", pixels[:32], labels[:32], pixels, labels, "test", tuple("abcdefghij"))
