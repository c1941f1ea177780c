"""MLflow: a view of the runs on disk, brought up to date after every epoch."""

from harness.tracking.dead import mark_dead_runs
from harness.tracking.memory import is_tracked, run_id, run_url, seconds
from harness.tracking.run import Tracker, supersede
from harness.tracking.store import explained, is_server, open_mlflow, tracking_uri

__all__ = [
    "Tracker",
    "explained",
    "is_server",
    "is_tracked",
    "mark_dead_runs",
    "open_mlflow",
    "run_id",
    "run_url",
    "seconds",
    "supersede",
    "tracking_uri",
]
