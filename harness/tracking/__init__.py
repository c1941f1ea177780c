"""MLflow tracking: a copy of the runs on disk, brought up to date after every epoch."""

from harness.tracking.mlflow_run import Tracker, delete, mark_dead_runs, noted_command, supersede
from harness.tracking.mlflow_store import explained, is_read_only, is_server, open_mlflow, tracking_uri
from harness.tracking.model import has_model
from harness.tracking.told import is_tracked, run_id, run_url, seconds

__all__ = [
    "Tracker",
    "delete",
    "explained",
    "has_model",
    "is_read_only",
    "is_server",
    "is_tracked",
    "mark_dead_runs",
    "noted_command",
    "open_mlflow",
    "run_id",
    "run_url",
    "seconds",
    "supersede",
    "tracking_uri",
]
