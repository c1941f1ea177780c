"""What the project's own words mean, for who has nothing but a page: those of them that stand on it."""

import re

from markupsafe import Markup

#: A word, where it stands in a text (a regular expression), and what it means.
WORDS = (
    (
        "the notebook", r"\bnotebook\b",
        "github.com/kwquan/CIFAR-10. It trains an 18-layer CNN (convolutional network) to an accuracy of 0.86 on "
        "CIFAR-10 (pictures of 32 x 32 pixels in ten classes), and says why it works.",
    ),
    (
        "seed", r"\bseeds?\b",
        "the number that all chance in a run comes from: the weights it starts with, the order of the images, and "
        "which images they are where they are few. One run has one seed; n counts them.",
    ),
    ("point", r"\bpoints\b", "a hundredth: from 30 % of the images right to 29 % is -1 point."),
    (
        "same recipe", r"\bsame recipe\b",
        "the runs in which all variants have the same settings of the training, the learning rate included.",
    ),
    (
        "retuned, --no-retune", r"\bretuned?\b",
        "retuned runs have for each variant the learning rate that suited it best in runs made to find it; --no-retune "
        "leaves them out.",
    ),
    (
        "recipe fast", r"\bfast\b",
        "settings of the training: Muon as the optimizer, 8 epochs, flips and shifts of the images, no dropout.",
    ),
    ("recipe classic", r"\bclassic\b", "as the recipe fast, with plain SGD (stochastic gradient descent) for Muon."),
    (
        "recipe published", r"recipe published",
        "our guess at the settings of the notebook's training; its accuracy follows the notebook's curve in part.",
    ),
    (
        "Muon", r"\bMuon\b",
        "an optimizer (Jordan et al. 2024) whose steps are as long for a small gradient as for a large one.",
    ),
    (
        "budget", r"\bbudget\b",
        "how much a run may train: full is all images and epochs; quick is 5,000 images and 8 epochs at most, and "
        "quick:500 as much with 500 images; smoke only shows that the program works.",
    ),
    (
        "split", r"\bsplit\b",
        "which images train and which judge. final: all training images, and the test images judge. tune: 5,000 of the "
        "50,000 training images are held out and judge, as validation images; the test images stay unseen.",
    ),
    (
        "cifar10-jpeg75", r"\bcifar10-jpeg75\b",
        "CIFAR-10 as JPEG copies (quality 75) of its pictures. Accuracies need not be those on the original ones.",
    ),
    ("bfloat16", r"\bbfloat16\b", "numbers of 16 bits: with them some processors compute faster, and less exactly."),
    (
        "Holm", r"\bHolm\b",
        "Holm's correction (1979): with it the chance of any false alarm among all comparisons is 5 % at most.",
    ),
    ("–", r"(^|\n)\s*–\s*($|\n)", "not measured, or nothing to compare."),
    ("PFLOP", r"\bPFLOP\b", "1e15 operations of arithmetic, counted."),
)  # fmt: skip


def glossary(page: Markup) -> list[tuple[str, str]]:
    """The words that a piece of HTML shows, each with its meaning."""
    shown = page.striptags()
    return [(word, meaning) for word, where, meaning in WORDS if re.search(where, shown)]
