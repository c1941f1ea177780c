"""MLflow: a view of the runs on disk, brought up to date after every epoch."""

from harness.tracking.liveness import mark_dead_runs
from harness.tracking.memory import is_tracked, run_id, run_url
from harness.tracking.run import Tracker, supersede
from harness.tracking.store import explained, open_mlflow, tracking_uri

__all__ = [
    "Tracker",
    "explained",
    "is_tracked",
    "mark_dead_runs",
    "open_mlflow",
    "run_id",
    "run_url",
    "supersede",
    "tracking_uri",
]
