"""Statistics of single test images: intervals over seeds and images, and classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.stats import ALPHA
from harness.common.lazy import lazy_import
from harness.experiment import BASELINE
from harness.runs.records import unpacked
from harness.runs.spec import Phase, RunResult

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")


@dataclass(frozen=True)
class OverImages:
    """A mean over `seeds` and `images`, as a share; `interval` is a 95 % interval over both, None with one seed.

    Other seeds and other test images of the same kind would give another mean: `interval` is for both, where that of a
    comparison is for other seeds on these images.
    """

    seeds: int
    images: int
    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class ImagesRow:
    """What the single test images say of one variant in one phase.

    `calibration_error` is the mean over its runs. `difference` to the baseline is paired by seed and image, over the
    seeds that its comparison has, and `classes` has it for each class where the labels are known; both are empty where
    there is no comparison.
    """

    phase: Phase
    variant: str
    calibration_error: float
    difference: OverImages | None
    classes: tuple[OverImages, ...]


def image_rows(
    groups: Mapping[tuple[Phase, str], Sequence[RunResult]],
    compared: Mapping[tuple[Phase, str], int],
    labels: np.ndarray | None = None,
) -> Iterator[ImagesRow]:
    """A row for each variant whose runs say which images they got right; a run that diverged does not.

    compared: how many seeds a variant's comparison has. labels: of the images that judged the runs; without them there
    are no classes.
    """
    kept = {group: {each.spec.config.seed: each for each in runs if each.result.correct}
            for group, runs in groups.items()}  # fmt: skip
    correct = {group: {seed: unpacked(each.result.correct, each.spec.config.eval_images) for seed, each in runs.items()}
               for group, runs in kept.items()}  # fmt: skip
    pairs = {}
    for (phase, variant), seeds in compared.items():
        ours, theirs = correct[phase, variant], correct[phase, BASELINE]
        common = list(islice((seed for seed in sorted(ours) if seed in theirs), seeds))
        if len(common) == seeds:
            pairs[phase, variant] = (
                np.array([ours[seed] for seed in common]),
                np.array([theirs[seed] for seed in common]),
            )
    for group, runs in kept.items():
        if runs:
            pair = pairs.get(group)
            yield ImagesRow(
                *group,
                calibration_error=fmean(each.result.metrics["calibration_error"] for each in runs.values()),
                difference=over_seeds_and_images(np.subtract(*pair, dtype=np.float64)) if pair else None,
                classes=() if pair is None or labels is None else tuple(by_class(*pair, labels)),
            )


def over_seeds_and_images(table: np.ndarray) -> OverImages:
    """The mean of numbers by seed and image [seed, image]: correctness, or its differences between paired runs.

    Seeds and images are two crossed random effects (Cornfield & Tukey 1956): the mean squares of the two-way table give
    the variance of its mean, and Satterthwaite (1946) its degrees of freedom. A bootstrap of both at once counts what a
    seed makes of an image three times, and is up to 1.7 times too wide (Owen 2007).
    """
    seeds, images = table.shape
    mean = float(table.mean())
    if min(seeds, images) < 2:
        return OverImages(seeds, images, mean, None)
    by_seed, by_image = table.mean(1), table.mean(0)
    freedom = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    residual = table - by_seed[:, None] - by_image + mean
    # What seeds, images, and both together add to the variance of the mean; the last is in each of the others.
    parts = np.array([
        by_seed.var(ddof=1) / seeds,
        by_image.var(ddof=1) / images,
        float((residual**2).sum()) / freedom[2] / (seeds * images),
    ])  # fmt: skip
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    if not variance:
        return OverImages(seeds, images, mean, (mean, mean))
    half = float(stats.t.isf(ALPHA / 2, variance**2 / (parts**2 / freedom).sum())) * variance**0.5
    return OverImages(seeds, images, mean, (mean - half, mean + half))


def by_class(variant: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> list[OverImages]:
    """The paired difference of correctness for each class; both are [seed, image], the seeds in the same order."""
    difference = np.subtract(variant, baseline, dtype=np.float64)
    return [over_seeds_and_images(difference[:, labels == label]) for label in range(int(labels.max()) + 1)]
