"""The pixel statistics of a split's training images, counted once for all runs on it."""

from functools import lru_cache

from harness.data import Split
from harness.engine.network import PixelStatistics, pixel_statistics


# As many splits as `harness.plan.images_of` keeps: the cache holds their images.
@lru_cache(maxsize=2)
def pixels_of(split: Split) -> PixelStatistics:
    """Return mean and standard deviation of each channel of the training images of a split."""
    return pixel_statistics(split.train_images)
