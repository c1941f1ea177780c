"""Kernels that a network starts from instead of random ones, as `first_layer` and `dirac` ask for."""

from collections.abc import Iterator
from functools import lru_cache

import keras
import numpy as np

from harness.config import Network
from harness.data import Split
from harness.engine.network import PixelStatistics

#: Images that the covariance of patches is counted from: 4.5 million patches are enough for 378 numbers.
PATCH_IMAGES = 5_000
PATCH = 3


def chosen_kernels(
    network: Network, model: keras.Model, split: Split, pixels: PixelStatistics
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the path and the value, float32 [3, 3, in, out], of each kernel of a new network that is not random.

    pixels: statistics of the training images of the split.
    """
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    if network.first_layer == "whitened":
        unit = pixels[1] if network.input_scaling == "standardised" else (1.0,) * 3
        kernel = convolutions[0].kernel
        yield kernel.path, whitened(patch_covariance(split), unit, kernel.shape[-1])
    for layer in convolutions:
        value = np.array(layer.kernel)
        if network.dirac and value.shape[2] == value.shape[3]:
            yield layer.kernel.path, with_identity(value, network.dirac)


@lru_cache(maxsize=2)
def patch_covariance(split: Split) -> np.ndarray:
    """Return the covariance, float64 [27, 27], of the 3 x 3 patches of three channels of the first training images."""
    count, total, products = 0, np.zeros(PATCH**2 * 3), np.zeros((PATCH**2 * 3,) * 2)
    images = split.train_images[:PATCH_IMAGES]
    for start in range(0, len(images), 100):
        windows = np.lib.stride_tricks.sliding_window_view(images[start : start + 100], (PATCH, PATCH), axis=(1, 2))
        # [image, row, column, channel, down, right] to rows of a kernel's order: down, right, channel.
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, PATCH**2 * 3).astype(np.float64)
        # Sums of whole numbers below 2**53: exact, in whichever order a machine adds them up.
        count, total, products = count + len(patches), total + patches.sum(axis=0), products + patches.T @ patches
    mean = total / count
    return products / count - np.outer(mean, mean)


def whitened(covariance: np.ndarray, unit: tuple[float, ...], filters: int) -> np.ndarray:
    """Return a kernel float32 [3, 3, 3, filters]: the principal directions of patches, and their negatives.

    covariance: of patches of pixels. unit: the pixels of each channel are divided by it. Batch normalization makes the
    variance of each direction 1, so that the first layer whitens patches. Each filter has the length that `he_normal`
    gives it on average.
    """
    scale = np.tile(np.maximum(unit, keras.config.epsilon()), PATCH**2)
    _, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
    chosen = directions[:, ::-1][:, : filters // 2]
    # Which of the two signs an eigenvector has depends on the library.
    largest = chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])]
    chosen = chosen * np.sign(largest) * np.sqrt(2)
    return np.concatenate([chosen, -chosen], axis=1).reshape(PATCH, PATCH, 3, -1).astype(np.float32)


def with_identity(kernel: np.ndarray, share: float) -> np.ndarray:
    """Return a kernel [3, 3, n, n] whose first filters, that share of all, pass their channel on unchanged."""
    kernel = kernel.copy()
    count = round(share * kernel.shape[-1])
    kernel[..., :count] = 0
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, range(count), range(count)] = 1
    return kernel
