"""Where MLflow keeps its data: the database in `mlruns/`, or the server of `$MLFLOW_TRACKING_URI`."""

import contextlib
import importlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import filelock

from harness import published
from harness.common import paths
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.lazy import lazy_import
from harness.common.process import identity, mlruns_id
from harness.common.redact import is_ambiguous, public_url
from harness.common.signals import deferred
from harness.tracking import database
from harness.tracking.others_database import has_mlflows_tables, of_another_version, sqlite_file

entities = lazy_import("mlflow.entities")
exceptions = lazy_import("mlflow.exceptions")

#: Another program that starts this one may name a run of its own for us to write into. No run of ours is to be that.
OF_OTHERS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID")

#: Tracking URIs that did not answer in this process. They are not asked again for what they have of a run: each attempt
#: may take a minute.
SILENT: set[str] = set()

#: The description of an experiment, which its pages show.
HOW_TO = """\
`make ui` prints the address of one comparison for each question, and of all runs.

- The chart icon shows curves, the list icon accuracies. *Group by* `variant` averages the seeds.
- A run's page has its accuracy, the verdicts of the reports that it is in, and the command that made it.
- Runs called *report: ...* have the answer to a question: `report.html` among their artifacts.
- Find the runs of a report by its tag (``tags.`report.NAME` LIKE '%'``), a run by `tags.run_key`.
"""


def tracking_uri() -> str:
    """Return `$MLFLOW_TRACKING_URI`, or the URI of the database in `mlruns/`.

    Raises BadInput for a misleading URL, and for a folder: MLflow would refuse that when a run begins.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if is_ambiguous(chosen):
        raise BadInput(
            "MLFLOW_TRACKING_URI is no URL that can be opened: user and password may not hold any of / ? # @ as they "
            "are (write %2F, %3F, %23, %40), and a port is a number."
        )
    folder = urlsplit(chosen).scheme in ("", "file") and not chosen.startswith("databricks")
    if chosen and folder and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        raise BadInput(
            f"MLFLOW_TRACKING_URI={public_url(chosen)} names a folder, to which MLflow no longer writes: give the URL "
            f"of a server or a database, as in sqlite:////path/to/mlflow.db, or unset it for the one in mlruns/."
        )
    return chosen or paths.sqlite_url(database.database())


def is_own_database(uri: str | None = None) -> bool:
    """Whether a tracking URI, by default the current one, is the database in `mlruns/`."""
    return (uri or tracking_uri()) == paths.sqlite_url(database.database())


def is_server() -> bool:
    """Whether `$MLFLOW_TRACKING_URI` is a server."""
    return tracking_uri().startswith("http")


def owner() -> dict[str, str]:
    """Return the tags of what this `mlruns/` logs on this machine. Others may log the like to the same server."""
    return {"mlruns": mlruns_id(), "machine": identity()["machine"]}


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether an MLflow run with these tags is of this `mlruns/` on this machine. Its own database has no others."""
    return is_own_database() or owner().items() <= tags.items()


def import_mlflow() -> Any:
    """Import and return mlflow, set as the harness needs it. The first import is slow."""
    for name in OF_OTHERS:
        os.environ.pop(name, None)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # With a server, MLflow would print the run's URL to stdout, which is reserved for the report.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Fail soon if a server does not answer: MLflow's default timeouts add up to many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # Else a request that fails is not heard of, and a run counts as logged that is not.
    os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"
    # Ten lines of it for one small model.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow = importlib.import_module("mlflow")
    for name in ("mlflow", "alembic"):
        # Their errors come as exceptions too, and are explained: a traceback before that explains nothing.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


def open_mlflow() -> Any:
    """Return mlflow with the tracking URI set. The database in `mlruns/` is created first if it does not exist.

    Raises BadInput for the database of another application.
    """
    mlflow = import_mlflow()
    if is_own_database():
        if database.is_missing():
            database.create()
        database.follow_the_folder()
    else:
        has_mlflows_tables(tracking_uri(), "MLFLOW_TRACKING_URI=")
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def is_read_only() -> bool:
    """Whether nothing can be written to where MLflow keeps its data, as far as that can be seen: a file."""
    if is_own_database():
        return paths.is_read_only()
    file = sqlite_file(tracking_uri())
    return bool(file and file.exists() and not all(os.access(place, os.W_OK) for place in (file, file.parent)))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn an MLflow error into a HarnessError that says what is safe and what to do. Signals are deferred."""
    try:
        with deferred():
            yield
    except HarnessError:
        raise
    except Exception as error:
        if "out-of-date database schema" in str(error):
            raise of_another_version(tracking_uri()) from error
        raise HarnessError(
            f"MLflow at {public_url(tracking_uri())} did not answer as it should ({first_line(error)}). Every finished "
            f"epoch is safe in {paths.mlruns() / 'runs'}; see that nothing else holds the database, that its disk has "
            f"room, or that the server answers, and give the same command again (without --fresh): MLflow is then "
            f"brought up to date. A database in mlruns/ that is damaged may be deleted; the same command makes another."
        ) from error


def choose_experiment(mlflow: Any, data: str) -> str:
    """Select the MLflow experiment of a data set, create it if it does not exist, and return its id.

    There is one experiment per data set, so that the comparison view cannot mix them. The experiment of CIFAR-10 also
    has the published curve, as a run called `published`, to compare the other runs with.
    """
    # One process at a time: two processes that create the same experiment, or the same run in it, would clash.
    with filelock.FileLock(paths.mlruns() / "experiment.lock"):
        known = mlflow.get_experiment_by_name(data)
        if known is None:
            # A server has its own location. Without a server, MLflow would use the current working directory.
            location = None if is_server() else database.location(paths.mlruns() / "artifacts" / data)
            # Another machine may just have created it; or its creation was asked for twice, as the answer was lost.
            with contextlib.suppress(exceptions.RestException):
                mlflow.create_experiment(data, artifact_location=location)
        elif known.lifecycle_stage == "deleted":
            raise HarnessError(
                f"The MLflow experiment {data} was deleted. Bring it back with `mlflow experiments restore "
                f"--experiment-id {known.experiment_id}`, or make it go with `mlflow gc` (MLFLOW_TRACKING_URI="
                f"{public_url(tracking_uri())})."
            )
        experiment = mlflow.set_experiment(data)
        experiment_id = experiment.experiment_id
        if "mlflow.note.content" not in experiment.tags:
            mlflow.MlflowClient().set_experiment_tag(experiment_id, "mlflow.note.content", HOW_TO)
        if published.comparable(data):
            _import_published(mlflow, experiment_id)
    return experiment_id


def runs_in(client: Any, experiment_id: str, where: str = "") -> list[Any]:
    """Return the runs of an MLflow experiment that a filter lets through, the oldest first, however many there are."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], where, order_by=["attributes.start_time ASC"], page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def create_run(client: Any, experiment_id: str, name: str, tags: Mapping[str, str], begun: int | None = None) -> str:
    """Create an MLflow run, once, and return its id. begun: ms since 1970; None is now.

    If the answer of a server is lost, MLflow's client asks again: the server then has two runs.
    """
    creation = {"creation": uuid.uuid4().hex}
    created = client.create_run(experiment_id, begun, dict(tags) | creation, name).info.run_id
    for run in client.search_runs([experiment_id], f"tags.creation = '{creation['creation']}'"):
        if run.info.run_id != created:
            client.delete_run(run.info.run_id)
    return created


def _import_published(mlflow: Any, experiment_id: str) -> None:
    client = mlflow.MlflowClient()
    known = client.search_runs([experiment_id], "tags.variant = 'published'")
    if any(run.info.status == "FINISHED" for run in known):
        return
    tags = {"variant": "published", "source": "read off the notebook's figures: ±0.002 accuracy, ±0.01 loss"}
    # Continue an import that was killed: MLflow drops metrics with the same time and value.
    run_id = known[0].info.run_id if known else create_run(client, experiment_id, "published", tags)
    metrics = [
        entities.Metric(str(name), float(value), 0, int(row["epoch"]))
        for _, row in published.curve().iterrows()
        for name, value in row.items()
        if name != "epoch" and value == value
    ]
    for name, value in {"accuracy": "test_accuracy", "cross_entropy": "test_loss"}.items():
        metrics.append(entities.Metric(name, published.final()[value], 0, 0))
    for start in range(0, len(metrics), 1000):  # as many as one request may carry
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    client.set_terminated(run_id)
