"""Kernels that a network starts from instead of random ones."""

import dataclasses

import numpy as np
import pytest
from conftest import SMALL_RECIPE, small_config

from harness.config import InputScaling, Network
from harness.data import Split
from harness.engine.backend import import_keras, open_engine

import_keras("tensorflow")

from harness.engine.initial import patch_covariance, whitened, with_identity  # noqa: E402
from harness.engine.network import pixel_statistics  # noqa: E402

FIRST = "model/block1_conv1/kernel"


def colourful() -> Split:
    """Smooth images whose channels differ in contrast: neighbouring pixels are alike, as in photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(64, 9, 9, 3)).repeat(4, axis=1).repeat(4, axis=2)
    smooth = (coarse[:, :32, :32] + coarse[:, 2:34, 1:33] + coarse[:, 3:35, 3:35]) * np.array([5.0, 20.0, 40.0])
    images = np.clip(smooth + rng.normal(size=smooth.shape) * 5 + 128, 0, 255).astype(np.uint8)
    labels = np.arange(64, dtype=np.int32) % 10
    return Split("final", images, labels, images[:40], labels[:40], "test", tuple("abcdefghij"))


def test_the_covariance_is_that_of_all_patches() -> None:
    split = colourful()
    patches = [
        split.train_images[i, y : y + 3, x : x + 3].ravel() for i in range(64) for y in range(30) for x in range(30)
    ]
    np.testing.assert_allclose(patch_covariance(split), np.cov(np.array(patches).T, bias=True), rtol=1e-9)


@pytest.mark.parametrize("scaling", ["raw", "unit", "standardised"])
def test_a_whitened_first_layer_has_outputs_that_do_not_go_together(scaling: InputScaling) -> None:
    split = colourful()
    network = Network(first_layer="whitened", input_scaling=scaling)
    kernel = np.asarray(open_engine(small_config(network=network), split).initial_state()[FIRST])
    assert kernel.shape == (3, 3, 3, 32)
    assert np.array_equal(kernel[..., 16:], -kernel[..., :16])
    # The standard deviation of `he_normal`, in each filter.
    np.testing.assert_allclose(np.square(kernel).mean(axis=(0, 1, 2)), 2 / 27, rtol=1e-5)
    mean, std = pixel_statistics(split.train_images)
    images = (split.train_images - np.array(mean)) / (np.array(std) if scaling == "standardised" else 1)
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    outputs = np.einsum("nyxcij,ijcf->nyxf", windows, kernel[..., :16].astype(np.float64)).reshape(-1, 16)
    covariance = np.cov(outputs.T)
    variances = np.diag(covariance)
    assert (np.diff(variances) <= 0).all(), "the largest first"
    assert np.abs(covariance - np.diag(variances)).max() < 1e-4 * variances[0]


def test_nothing_else_is_changed_by_the_first_layer() -> None:
    split = colourful()
    one, other = (
        open_engine(small_config(network=Network(first_layer=first)), split).initial_state()
        for first in ("random", "whitened")
    )
    assert one.keys() == other.keys()
    assert {name for name in one if not np.array_equal(one[name], other[name])} == {FIRST}


def test_grey_images_can_be_whitened() -> None:
    """Their covariance has a rank of 9."""
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), np.uint8), 3, axis=3)
    split = dataclasses.replace(colourful(), train_images=grey)
    kernel = whitened(patch_covariance(split), pixel_statistics(grey)[1], 32)
    assert np.isfinite(kernel).all()


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 32), (1.0, 64)])
def test_dirac_filters_pass_their_channel_on(small_split: Split, share: float, count: int) -> None:
    recipe = dataclasses.replace(SMALL_RECIPE, dropout=(0.0,) * 4)
    config = small_config(recipe, Network(dirac=share))
    state = open_engine(config, small_split).initial_state()
    random = open_engine(small_config(recipe), small_split).initial_state()
    identity = np.zeros((3, 3, 64, 64), np.float32)
    identity[1, 1] = np.eye(64)
    for conv in (2, 3):
        name = f"model/block2_conv{conv}/kernel"
        assert np.array_equal(state[name][..., :count], identity[..., :count])
        assert np.array_equal(state[name][..., count:], random[name][..., count:])
    others = {name for name in state if not name.endswith(("_conv2/kernel", "_conv3/kernel"))}
    assert all(np.array_equal(state[name], random[name]) for name in others)


def test_the_identity_is_the_identity() -> None:
    kernel = with_identity(np.ones((3, 3, 4, 4), np.float32), 1.0)
    image = np.random.default_rng(0).normal(size=(5, 5, 4))
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))
    np.testing.assert_allclose(np.einsum("yxcij,ijcf->yxf", windows, kernel), image[1:-1, 1:-1])
