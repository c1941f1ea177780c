"""A model card in Markdown, of what a run recorded."""

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.common.lazy import lazy_import
from harness.config import value_text
from harness.reporting.page.render import fill_template
from harness.runs.folder import RunFolder
from harness.runs.records import Result, version_texts

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy_import("scipy.stats")


def model_card(folder: RunFolder, result: Result, command: str) -> str:
    """Return the card of a finished run. command: what trains it; empty where that is not known."""
    config, tags = folder.config, folder.tags
    counts = np.asarray(result.confusion)
    right = stats.binomtest(int(counts.trace()), int(counts.sum())).proportion_ci(method="wilson")
    settings = {name: value for part in (config.network, config.recipe) for name, value in vars(part).items()}
    text = fill_template(
        "model_card.md.j2",
        key=config.key,
        config=config,
        data=config.data,
        judged=config.judged,
        images=int(counts.sum()),
        accuracy=result.metrics["accuracy"],
        interval=(right.low, right.high),
        metrics=result.metrics,
        classes=_classes(result, counts),
        command=command,
        tags=tags,
        versions=version_texts(tags),
        weights=result.weights_sha256,
        settings={name: value_text(value) for name, value in settings.items()},
    )
    return text + "\n"


def _classes(result: Result, counts: np.ndarray) -> list[dict[str, Any]]:
    """Return what became of the images of each class. counts: true class by row, predicted by column."""
    names = list(result.error_per_class)
    wrong = counts - np.diag(counts.diagonal())
    return [
        {
            "name": name,
            "accuracy": 1 - error,
            "taken_for": f"{names[row.argmax()]} ({row.max() / max(total, 1):.1%})" if row.max() else "–",
        }
        for (name, error), row, total in zip(result.error_per_class.items(), wrong, counts.sum(axis=1), strict=True)
    ]
