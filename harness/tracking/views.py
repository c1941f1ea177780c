"""Saved views of MLflow's comparison: which runs, columns and charts its page shows, kept as a tag of the experiment.

The format is MLflow's own and is not documented: it is read off the page of 3.17.2 (`compareRunCharts` and its
neighbours in its scripts). tests/test_views.py fails where MLflow changes it. Nothing else depends on it: without the
tag the page opens with its own columns and charts.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from harness.metrics import INSIDE

#: The tag of a view is this and the view's name.
TAG = "mlflow.sharedViewState."
#: The longest view, in characters.
LONGEST = 20_000
COLUMNS = ("metrics.`accuracy`", "metrics.`cross_entropy`", "params.`epochs`", "params.`train_images`")
FIRST = "Accuracy and loss"
#: What MLflow calls the charts of metrics without a "/", and those of processor and memory.
LAST = ("Model metrics", "System metrics")


def view(runs: str, metrics: Iterable[str], epochs: int, groups: Iterable[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return a view of the runs that a filter finds, the most accurate first.

    runs: a filter as MLflow's search box takes it. metrics: one chart each, in this order. epochs: where their axis
    ends. groups: the tags of each group of runs over which charts and columns are averaged, closed; the names of these
    tags are the same for all groups, and none leaves the runs as they are.
    """
    groups = list(groups)
    names = [FIRST, *sorted(INSIDE), *LAST]
    sections = [
        {"uuid": name, "name": name, "display": name == FIRST, "isReordered": False, "deleted": False} for name in names
    ]
    keys = [{"mode": "tag", "groupByData": tag} for tag in (groups[0] if groups else ())]
    closed = {",".join(f"tag.{tag}.{value}" for tag, value in group.items()): False for group in groups}
    return {
        "searchFilter": runs,
        "orderByKey": COLUMNS[0],
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [_chart(metric, epochs) for metric in metrics],
        "compareRunSections": sections,
        # Else the sections are sorted by name, and the first one here would not be the first.
        "isAccordionReordered": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
        "groupsExpanded": closed,
        "useGroupedValuesInCharts": True,
    }


def _chart(metric: str, epochs: int) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": metric,
        "metricSectionId": FIRST,
        "deleted": False,
        "isGenerated": True,
        "runsCountToCompare": 100,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {"xMin": 0, "xMax": epochs},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def save(client: Any, experiment_id: str, name: str, state: Mapping[str, Any]) -> None:
    """Save a view under a name, in place of an earlier one. One that is too long is not saved."""
    text = json.dumps(state, separators=(",", ":"))
    if len(text) < LONGEST:
        client.set_experiment_tag(experiment_id, TAG + name, text)


def name_of(words: Iterable[str]) -> str:
    """Return the words as the name of a view, which stands in a tag and in an address."""
    return re.sub(r"[^\w.-]+", "-", " ".join(filter(None, words)))[:120]


def address(experiment_id: str, name: str) -> str:
    """Return where the page shows a saved view, or its own with no name: what follows the server's address."""
    # MLflow's sidebar is else that of language models.
    rest = "compareRunsMode=CHART&workflowType=machine_learning"
    saved = f"viewStateShareKey={quote(name)}&" if name else ""
    return f"/#/experiments/{experiment_id}/runs?{saved}{rest}"
