"""MLflow: a view of the runs on disk, brought up to date after every epoch."""

from harness.tracking.dead_runs import mark_dead_runs
from harness.tracking.mlflow_ids import is_tracked, run_id, run_url, seconds
from harness.tracking.mlflow_run import Tracker, supersede
from harness.tracking.mlflow_store import explained, is_server, open_mlflow, tracking_uri

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
