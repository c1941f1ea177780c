"""Splits: which images are for training and which for evaluation."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.common.errors import BadInput
from harness.common.lazy import lazy_import
from harness.data.dataset import Dataset, Images

model_selection = lazy_import("sklearn.model_selection")

VALIDATION_SHARE = 0.1
SPLIT_SEED = 0  # fixed, whatever the run's seed: all tuning and search uses the same validation images
#: Separates the random numbers that draw a subset from those that a run draws from its seed.
SUBSETS = 5000


@dataclass(frozen=True, eq=False)
class Split:
    """Training and evaluation images, uint8 [n, 32, 32, 3], with their labels, int32 [n]."""

    name: str  # "final" or "tune"
    train_images: Images
    train_labels: npt.NDArray[np.int32]
    eval_images: Images
    eval_labels: npt.NDArray[np.int32]
    eval_name: str  # "test" or "validation"
    class_names: tuple[str, ...]


def split(dataset: Dataset, name: str) -> Split:
    """Split a data set into training and evaluation images.

    `final`: all training images, evaluated on the test set. `tune`: 90 % of the training images, evaluated on the other
    10 % (validation), stratified and fixed. `tune` holds no reference to the test set, so nothing can be chosen by test
    images. Raises BadInput for another name.
    """
    if name == "final":
        train, test = (dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)
        return Split(name, *train, *test, "test", dataset.class_names)
    if name == "tune":
        labels = dataset.train_labels
        train, held_out = model_selection.train_test_split(
            np.arange(len(labels)), test_size=VALIDATION_SHARE, stratify=labels, random_state=SPLIT_SEED
        )
        train.sort()
        held_out.sort()
        images = dataset.train_images
        chosen, judged = (images[train], labels[train]), (images[held_out], labels[held_out])
        return Split(name, *chosen, *judged, "validation", dataset.class_names)
    raise BadInput(f'There is no split "{name}": choose "final" or "tune".')


def subset(split: Split, train_images: int, eval_images: int, seed: int | None = None) -> Split:
    """Return a split of some images of each class, in their original order; for small budgets.

    train_images, eval_images: total numbers of images. If a number is no multiple of the classes, the first classes
    have one image more; if there are no more images than that, all are kept. seed: which training images; None takes
    the first of each class. A larger subset holds the smaller ones of its seed. The evaluation images are the first of
    each class in any case, so that all seeds are judged by the same ones. Raises BadInput for less than one image.
    """
    everything = np.arange(len(split.train_labels))
    order = everything if seed is None else np.random.default_rng([SUBSETS, seed]).permutation(everything)
    train = _of_each_class(split.train_labels, train_images, order)
    evaluate = _of_each_class(split.eval_labels, eval_images, np.arange(len(split.eval_labels)))
    return replace(
        split,
        train_images=split.train_images[train],
        train_labels=split.train_labels[train],
        eval_images=split.eval_images[evaluate],
        eval_labels=split.eval_labels[evaluate],
    )


def _of_each_class(
    labels: npt.NDArray[np.int32], count: int, order: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp] | slice:
    """Return the sorted indices of `count` images: one of each class in turn, each class in the given order."""
    if count < 1:
        raise BadInput(f"A subset of {count} images is empty: ask for at least one.")
    if count >= len(labels):
        return slice(None)  # all of them, without a copy
    ordered = labels[order]
    rank = np.empty(len(labels), np.intp)  # how many images of the same class come before this one
    for label in np.unique(labels):
        members = np.flatnonzero(ordered == label)
        rank[members] = np.arange(len(members))
    in_turns = np.lexsort((ordered, rank))
    return np.sort(order[in_turns[:count]])
