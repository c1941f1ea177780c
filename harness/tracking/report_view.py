"""What MLflow shows of a report: its runs found by one tag that holds the verdict, a colour a variant, a saved view."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness import published
from harness.analysis.report import Report, VariantRow
from harness.common.rounded import accuracy, in_points
from harness.tracking import views
from harness.tracking.mlflow_store import (
    explained,
    is_ours,
    is_own_database,
    is_read_only,
    open_mlflow,
    owner,
    runs_in,
)

#: What makes a report this one and no other: one with the same, but of more seeds, takes its place in MLflow.
IDENTITY = ("experiment", "recipe", "budget", "changes", "data", "split", "precision", "engine")
#: Words that the name of a view leaves out, as most reports have them.
USUAL = ("final", "float32", "tensorflow")
#: The colour of the baseline and of the published curve.
GREY = "#666666"
#: The name of the view of all runs.
ALL = "all"
#: Before the verdicts in the note of a run, which a report writes there.
VERDICTS = "\n\n**Verdicts**\n\n"


def view_name(identity: Mapping[str, str]) -> str:
    """Return the name of a report's view. identity: those of IDENTITY, as the tags of its run in MLflow have them.

    On a server several `mlruns/` may have the same report, and each has a view of its own runs: the name ends with the
    first digits of the tag `mlruns` there.
    """
    name = _short(identity)
    return name if is_own_database() else f"{name}-{identity.get('mlruns', '')[:8]}"


def _short(identity: Mapping[str, str]) -> str:
    return views.name_of(word for name in IDENTITY if (word := identity.get(name, "")) not in USUAL)


def pages(mlflow: Any) -> dict[str, str]:
    """Return the pages that are worth opening, the newest report's first: what each shows -> what follows the address.

    The views of all runs of a data set are saved anew, as only they know how many epochs there are to show. Where
    nothing can be written, they are named as they are, or MLflow's own page is.
    """
    client = mlflow.MlflowClient()
    of_reports, of_all = [], {}
    writable = not is_read_only()
    for experiment in client.search_experiments():
        found = runs_in(client, experiment.experiment_id, "tags.run_key LIKE '%' AND params.epochs LIKE '%'")
        if not found:
            continue
        epochs = max(int(run.data.params["epochs"]) for run in found)
        metrics = ["test_accuracy", "test_loss", "train_accuracy", "validation_accuracy"]
        everything = views.view("tags.variant LIKE '%' AND metrics.accuracy >= 0", metrics, epochs)
        if writable:
            views.save(client, experiment.experiment_id, ALL, everything)
        name = ALL if writable or views.TAG + ALL in experiment.tags else ""
        of_all[f"all runs on {experiment.name}"] = views.address(experiment.experiment_id, name)
        for run in runs_in(client, experiment.experiment_id, "tags.kind = 'report'"):
            name = view_name(run.data.tags)
            if views.TAG + name in experiment.tags:
                label = " ".join(word for each in IDENTITY if (word := run.data.tags.get(each, "")) not in ("", *USUAL))
                if not is_ours(run.data.tags):
                    label += f" ({run.data.tags.get('machine', '')})"
                of_reports.append((run.info.end_time or 0, label, views.address(experiment.experiment_id, name)))
    newest: dict[str, str] = {}
    for _, label, place in sorted(of_reports, reverse=True):
        newest.setdefault(label, place)
    return newest | of_all


def show_report(report: Report, colours: Mapping[str, str]) -> None:
    """Tag the runs of a report, and save the view of them, with the seeds of a variant averaged.

    A run may be in several reports, and has a tag of each: `report.VIEW`, with the verdict on its variant. colours: of
    the variants.
    """
    with explained():
        mlflow = open_mlflow()
        experiment = mlflow.get_experiment_by_name(report.data)
        if experiment:
            _show(mlflow, experiment.experiment_id, report, colours)


def _show(mlflow: Any, experiment_id: str, report: Report, colours: Mapping[str, str]) -> None:
    client = mlflow.MlflowClient()
    identity = {each: str(getattr(report, each)) for each in IDENTITY} | owner()
    name = view_name(identity)
    # Earlier versions gave the latter to all runs of a server.
    tag, former = f"report.{name}", f"report.{_short(identity)}"
    verdicts = {(row.variant, row.phase): verdict(row) for row in report.variants}
    of_run: dict[str, tuple[str, str]] = {}
    for run in report.runs:
        # A run may be in two phases: the first has judged it.
        if run.mlflow_run_id and (run.variant, run.phase) in verdicts:
            of_run.setdefault(run.mlflow_run_id, (verdicts[run.variant, run.phase], run.variant))
    found = _tagged(client, experiment_id, tag) | _runs(client, experiment_id, of_run)
    if any(row.compared for row in report.variants):
        for run in client.search_runs([experiment_id], "tags.variant = 'published'"):
            found[run.info.run_id] = run
            of_run[run.info.run_id] = (f"the curve of the notebook, {published.final()['test_accuracy']:.3f}", "")
    for run_id, run in found.items():
        if former != tag and run.data.tags.pop(former, ""):
            client.delete_tag(run_id, former)
        if run_id in of_run:
            text, variant = of_run[run_id]
            _write(mlflow, client, run, {tag: text, "mlflow.runColor": colours.get(variant, GREY)})
        else:
            client.delete_tag(run_id, tag)
    metrics = [f"{report.judged}_accuracy", f"{report.judged}_loss", "train_accuracy"]
    phases = len({phase for _, phase in verdicts}) > 1
    groups = [{"variant": v} | ({"phase": phase} if phases else {}) for v, phase in verdicts]
    epochs = max((row.epochs for row in report.variants), default=1)
    views.save(client, experiment_id, name, views.view(f"tags.`{tag}` LIKE '%'", metrics, epochs, groups))


def verdict(row: VariantRow) -> str:
    """Return the verdict on a variant, with its difference in points; of the baseline that against the target."""
    if each := row.against_baseline:
        return f"{each.verdict}: {in_points(each.mean, each.interval)}, {each.n} seeds"
    if row.accuracy is None:
        return f"diverged: {row.diverged} of {row.n} seeds"
    against = f", against {published.ACCURACY_TARGET}: {row.accuracy.verdict}" if row.compared else ""
    return f"{row.variant}: accuracy {accuracy(row.accuracy.mean)}, {row.n} seeds{against}"


def _tagged(client: Any, experiment_id: str, tag: str) -> dict[str, Any]:
    """Return the runs with a tag, but for those of others on the same server."""
    found = runs_in(client, experiment_id, f"tags.`{tag}` LIKE '%'")
    return {run.info.run_id: run for run in found if is_ours(run.data.tags) or "run_key" not in run.data.tags}


def _runs(client: Any, experiment_id: str, run_ids: Iterable[str]) -> dict[str, Any]:
    """Return those of the runs that MLflow has and that are not deleted."""
    names = sorted(run_ids)
    found: dict[str, Any] = {}
    for start in range(0, len(names), 100):
        some = ", ".join(f"'{run_id}'" for run_id in names[start : start + 100])
        found |= {run.info.run_id: run for run in client.search_runs([experiment_id], f"attributes.run_id IN ({some})")}
    return found


def _write(mlflow: Any, client: Any, run: Any, tags: Mapping[str, str]) -> None:
    """Set what differs of these tags, and the verdicts in the run's note with them."""
    all_tags = dict(run.data.tags) | dict(tags)
    said = [f"- {name.removeprefix('report.')}: {text}" for name, text in sorted(all_tags.items()) if _is_verdict(name)]
    note = all_tags.get("mlflow.note.content", "").partition(VERDICTS)[0] + VERDICTS + "\n".join(said)
    new = dict(tags) | {"mlflow.note.content": note}
    changed = {name: text for name, text in new.items() if run.data.tags.get(name) != text}
    if changed:
        client.log_batch(run.info.run_id, tags=[mlflow.entities.RunTag(*each) for each in changed.items()])


def _is_verdict(tag: str) -> bool:
    return tag.startswith("report.")
