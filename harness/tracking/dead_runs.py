"""Runs that a killed process left RUNNING in MLflow: it cannot end them, so the next one does."""

from typing import Any

from harness.common.process import is_alive


def mark_dead_runs(mlflow: Any) -> None:
    """Set this harness's runs to KILLED whose process is dead."""
    client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    # The tags name the harness's own runs: a server may hold other people's.
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING' and tags.run_key != ''"):
        if not is_alive({"heartbeat": str(run.info.start_time / 1000)} | run.data.tags):
            client.set_tag(run.info.run_id, "reason", "its process died")
            client.set_terminated(run.info.run_id, "KILLED")
