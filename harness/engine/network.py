"""The notebook's 18-layer network in plain Keras layers, with the settings that the ablations change."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from harness.config import Network, Recipe

FILTERS = (32, 64, 128)
CONVS_PER_BLOCK = 3
DENSE_UNITS = 32
CLASSES = 10
IMAGE_SHAPE = (32, 32, 3)


def build(
    network: Network,
    recipe: Recipe,
    seed: int = 0,
    pixel_mean: Sequence[float] | np.ndarray | None = None,
    pixel_std: Sequence[float] | np.ndarray | None = None,
    *,
    output: str = "softmax",
    batch_norm: type[keras.layers.Layer] = keras.layers.BatchNormalization,
    dropout: type[keras.layers.Layer] = keras.layers.Dropout,
    max_pool: type[keras.layers.Layer] = keras.layers.MaxPooling2D,
) -> keras.Model:
    """Build the network: raw pixels [B, 32, 32, 3] in; [B, 10] out, probabilities (`softmax`) or logits (`linear`).

    pixel_mean, pixel_std: float [3], of the training images, in pixel units; needed for `standardised`.
    batch_norm, dropout, max_pool: an engine passes its own layers, which have the same weights.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(32).tolist())

    def initializer() -> keras.initializers.Initializer:
        name = "".join(word.title() for word in network.initializer.split("_"))
        return keras.initializers.get({"class_name": name, "config": {"seed": next(seeds)}})

    def normalize(x: Any, name: str) -> Any:
        if network.normalization == "batch":
            return batch_norm(momentum=recipe.normalization_momentum, name=f"{name}_norm")(x)
        if network.normalization == "none":
            return x
        # Group normalization with one group is layer normalization (Wu & He 2018).
        groups = 1 if network.normalization == "layer" else 8
        return keras.layers.GroupNormalization(groups, name=f"{name}_norm")(x)

    pool = {"max": max_pool, "average": keras.layers.AveragePooling2D}[network.pooling]
    inputs = keras.Input(IMAGE_SHAPE, name="pixels")
    x = _scale(network, pixel_mean, pixel_std)(inputs)
    for block, filters in enumerate(FILTERS, start=1):
        for conv in range(1, CONVS_PER_BLOCK + 1):
            name = f"block{block}_conv{conv}"
            x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=initializer(), name=name)(x)
            if network.normalization_place == "before":
                x = normalize(x, name)
            x = keras.layers.Activation(network.activation, name=f"{name}_{network.activation}")(x)
            if network.normalization_place == "after":
                x = normalize(x, name)
        x = pool(2, name=f"block{block}_pool")(x)
        x = dropout(recipe.dropout[block - 1], seed=next(seeds), name=f"block{block}_dropout")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(DENSE_UNITS, activation=network.activation, kernel_initializer=initializer(), name="dense")(
        x
    )
    x = dropout(recipe.dropout[3], seed=next(seeds), name="dense_dropout")(x)
    # Glorot, whatever the other layers use: no ReLU follows, and Glorot's variance keeps the initial logits small.
    final = keras.initializers.GlorotUniform(seed=next(seeds))
    outputs = keras.layers.Dense(CLASSES, activation=output, kernel_initializer=final, name="output")(x)
    return keras.Model(inputs, outputs, name="cifar10_cnn")


def freeze_idle_biases(network: Network, model: keras.Model) -> None:
    """Exclude the convolutions' biases from training if batch normalization follows.

    Batch normalization subtracts such a bias again, so its gradient is 0 up to rounding, and computing it costs time
    (docs/speed.md). The biases remain in the model with their initial value 0.
    """
    if network.normalization == "batch" and network.normalization_place == "before":
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D):
                layer.bias.trainable = False


def _scale(
    network: Network, mean: Sequence[float] | np.ndarray | None, std: Sequence[float] | np.ndarray | None
) -> keras.layers.Layer:
    if network.input_scaling == "standardised":
        if mean is None or std is None:
            mean, std = np.zeros(3), np.ones(3)
        return keras.layers.Normalization(mean=mean, variance=np.square(std), name="scaling")
    scale = 1 / 255 if network.input_scaling == "unit" else 1.0
    return keras.layers.Rescaling(scale, name="scaling")


#: (mean, standard deviation): three numbers each, one per channel, in pixel units.
PixelStatistics = tuple[tuple[float, ...], tuple[float, ...]]


def pixel_statistics(images: np.ndarray) -> PixelStatistics:
    """Return mean and standard deviation of each channel of uint8 images [N, H, W, 3]."""
    # From the counts of the 256 values in each channel: exact, and without a float copy of 150 MB of pixels.
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256)
    mean = counts @ values / counts.sum(axis=1)
    deviation = np.sqrt(counts @ values**2 / counts.sum(axis=1) - mean**2)
    return tuple(mean.tolist()), tuple(deviation.tolist())


def forward_flops(model: keras.Model) -> dict[str, int]:
    """Return the FLOPs of one image's forward pass in each convolution and dense layer (multiply-add = 2).

    The element-wise layers are not counted: they are under 2 % of the total.
    """
    flops = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = int(np.prod(layer.kernel.shape))
            positions = int(np.prod(layer.output.shape[1:-1])) if layer.output.shape[1:-1] else 1
            flops[layer.name] = 2 * kernel * positions
    return flops


def training_flops(model: keras.Model) -> int:
    """Return the FLOPs of training on one image: forward, and backward to weights and inputs.

    The gradient with respect to the pixels is not needed, so the first layer has no backward pass to its input.
    """
    forward = forward_flops(model)
    return 3 * sum(forward.values()) - next(iter(forward.values()))
