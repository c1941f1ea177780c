"""Statistics of single test images: intervals over seeds and images, and classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.stats import ALPHA
from harness.common.lazy import lazy_import
from harness.engine.loop import calibration_error
from harness.experiment import BASELINE
from harness.runs.spec import Phase, RunResult

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")

#: How often seeds and images are drawn again, and the seed of that drawing.
RESAMPLES = 2000
BOOTSTRAP_SEED = 0

#: Resamples at a time: their counts of 10,000 images take 16 MB.
BLOCK = 200


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
    seeds that its comparison has, and `classes` has it for each class; both are empty where there is no comparison.
    """

    phase: Phase
    variant: str
    calibration_error: float
    difference: OverImages | None
    classes: tuple[OverImages, ...]


def image_rows(
    groups: Mapping[tuple[Phase, str], Sequence[RunResult]],
    compared: Mapping[tuple[Phase, str], int],
    labels: np.ndarray,
) -> Iterator[ImagesRow]:
    """A row for each variant whose runs have kept the probabilities of every image; a run that diverged has none.

    compared: how many seeds a variant's comparison has. labels: of the images that judged the runs.
    """
    kept = {group: {each.spec.config.seed: _probabilities(each) for each in runs} for group, runs in groups.items()}
    correct = {
        group: {seed: each.argmax(axis=1) == labels for seed, each in runs.items() if each is not None}
        for group, runs in kept.items()
    }
    pairs = {}
    for (phase, variant), seeds in compared.items():
        ours, theirs = correct[phase, variant], correct[phase, BASELINE]
        common = list(islice((seed for seed in sorted(ours) if seed in theirs), seeds))
        if len(common) == seeds:
            pairs[phase, variant] = (
                np.array([ours[seed] for seed in common]),
                np.array([theirs[seed] for seed in common]),
            )
    differences = over_seeds_and_images(
        {str(group): np.subtract(*pair, dtype=np.float32) for group, pair in pairs.items()}
    )
    for group, runs in kept.items():
        known = [each for each in runs.values() if each is not None]
        if known:
            pair = pairs.get(group)
            yield ImagesRow(
                *group,
                calibration_error=fmean(calibration_error(each, labels) for each in known),
                difference=differences.get(str(group)),
                classes=tuple(by_class(*pair, labels)) if pair else (),
            )


def _probabilities(result: RunResult) -> np.ndarray | None:
    """[image, class], as float16; None of a run that diverged, or came without them."""
    file = result.folder.artifacts / "probabilities.npz"
    return np.load(file)["probabilities"] if file.exists() else None


def over_seeds_and_images(values: Mapping[str, np.ndarray]) -> dict[str, OverImages]:
    """Means of numbers by seed and image [seed, image]: correctness, or its differences between paired runs.

    Bootstrap of both at once, with the same images for all. Of n seeds n - 1 are drawn, which makes the variance right
    for few of them (Rao and Wu 1988), and the interval is of Student's t with n - 1 degrees of freedom: percentiles
    cover 83 % at 5 seeds. Raises ValueError where the numbers of images differ.
    """
    counts = {table.shape[1] for table in values.values()}
    if len(counts) > 1:
        raise ValueError(f"Judged by different numbers of images: {sorted(counts)}.")
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means: dict[str, list[np.ndarray]] = {name: [] for name in values}
    images = counts.pop() if counts else 0
    for start in range(0, RESAMPLES, BLOCK):
        size = min(BLOCK, RESAMPLES - start)
        weights = _drawn(rng, size, images, images)
        for name, table in values.items():
            seeds = len(table)
            if seeds > 1:
                # [resample, seed]: the means over the drawn images, and how often each seed was drawn.
                by_seed = weights @ table.T.astype(np.float32)
                means[name].append((by_seed * _drawn(rng, size, seeds, seeds - 1)).sum(1))
    return {
        name: _over_images(table, np.concatenate(means[name]) if means[name] else None)
        for name, table in values.items()
    }


def _drawn(rng: np.random.Generator, resamples: int, count: int, draws: int) -> np.ndarray:
    """How often each of so many is drawn, as a share of all draws: [resample, count]."""
    chosen = rng.integers(count, size=(resamples, draws)) + count * np.arange(resamples)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=resamples * count)
    return (counts.reshape(resamples, count) / draws).astype(np.float32)


def _over_images(table: np.ndarray, means: np.ndarray | None) -> OverImages:
    seeds, images = table.shape
    mean = float(table.mean())
    if means is None:
        return OverImages(seeds, images, mean, None)
    half = float(stats.t.isf(ALPHA / 2, seeds - 1)) * float(means.std(ddof=1))
    return OverImages(seeds, images, mean, (mean - half, mean + half))


def by_class(variant: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> list[OverImages]:
    """The paired difference of correctness for each class; both are [seed, image], the seeds in the same order."""
    difference = np.subtract(variant, baseline, dtype=np.float32)
    return [over_seeds_and_images({"": difference[:, labels == label]})[""] for label in range(int(labels.max()) + 1)]
