"""The comparison in MLflow: saved views in the format that its page reads, and what they find."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from conftest import mlflow_runs
from report_builders import Lab

from harness.analysis.make_report import make_report
from harness.analysis.report import RunLink
from harness.commands.serve import serve
from harness.common import paths
from harness.common.process import identity
from harness.experiment import Experiment
from harness.reporting.publish import publish
from harness.runs.spec import RunResult
from harness.tracking import views
from harness.tracking.mlflow_store import open_mlflow, owner
from harness.tracking.report_view import IDENTITY, pages, show_report, view_name

NORMS = Experiment(variants={"no norm": {"normalization": "none"}, "a.b 'c'": {"normalization": "group"}}, question="?")
LEVELS = {"baseline": 0.8, "no norm": 0.7, "a.b 'c'": 0.8}
VIEW = "ablate_test-fast-quick-synthetic"


@pytest.fixture(scope="module")
def script() -> str:
    """The program of MLflow's page."""
    folder = Path(mlflow.__file__).parent / "server/js/build/static/js"
    return "\n".join(file.read_text() for file in folder.glob("*.js"))


def test_mlflow_s_page_reads_the_format_of_the_views(script: str) -> None:
    """If this fails after an update: look at a view in the browser, and put harness/tracking/views.py right."""
    state = views.view("metrics.accuracy > 0", ["test_accuracy"], 8, [{"variant": "no norm"}])
    # The names that the page takes from a saved view: of what is shown, and of what is searched for.
    shown, searched = (re.findall(rf'\["{first}",[^\]]*\]', script) for first in ("selectedColumns", "searchFilter"))
    assert any(state.keys() <= {*json.loads(one), *json.loads(searched[0])} for one in shown)
    assert f'"{views.TAG}"' in script
    assert '"viewStateShareKey"' in script
    assert '"machine_learning"' in script
    (line,) = re.findall(r'type=\w+\.LINE,this\.metricKey="".*?useGlobalLineSmoothing', script)
    own = {"type", "uuid", "metricSectionId", "deleted", "isGenerated", "runsCountToCompare", "displayName"}
    assert not [name for name in state["compareRunCharts"][0].keys() - own if f"this.{name}" not in line]
    assert not [name for name in own if f"this.{name}=" not in script]
    assert 'FIRST_10_RUNS="FIRST_10_RUNS"' in script
    assert 'SHOWALL="SHOW_ALL"' in script
    assert 'Average="average"' in script
    assert 'Tag="tag"' in script
    assert "`${t}.${e}.${n||null}`" in script, "how the name of a group is made"
    assert all(f'"{name}"' in script for name in views.LAST)


def test_a_view_that_is_too_long_is_not_saved() -> None:
    class Client:
        def __init__(self) -> None:
            self.saved: dict[str, str] = {}

        def set_experiment_tag(self, experiment_id: str, name: str, text: str) -> None:
            self.saved[name] = text

    client = Client()
    groups = [{"variant": f"variant {number}"} for number in range(1000)]
    views.save(client, "1", "long", views.view("", ["test_accuracy"], 8, groups))
    views.save(client, "1", "short", views.view("", ["test_accuracy"], 8, groups[:50]))
    assert list(client.saved) == ["mlflow.sharedViewState.short"]


def logged(results: list[RunResult]) -> dict[str, RunLink]:
    """The links of runs, each of which MLflow has."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name("synthetic")
    experiment = found.experiment_id if found else client.create_experiment("synthetic")
    links = {}
    for each in results:
        spec = each.spec
        run = client.create_run(experiment, tags=spec.tags | {"run_key": spec.config.key}, run_name=spec.label)
        client.log_param(run.info.run_id, "epochs", spec.config.recipe.epochs)
        client.set_tag(run.info.run_id, "mlflow.note.content", "**Accuracy 0.8**")
        links[spec.config.key] = RunLink(run.info.run_id, f"http://127.0.0.1:5000/#/{run.info.run_id}")
    return links


def of_report(runs: list[Any]) -> dict[str, Any]:
    return {run.info.run_name: run for run in runs if f"report.{VIEW}" in run.data.tags}


def test_a_report_finds_its_runs_again_with_a_verdict_a_colour_and_a_view(mlruns: Path, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{mlruns / 'mlflow.db'}")
    lab = Lab(NORMS, LEVELS, data="synthetic")
    results = lab.under_one_recipe(4)
    links = logged(results)
    publish(make_report(NORMS, results, links=links), results, tmp_path)
    found = of_report(mlflow_runs(mlruns))
    assert sorted(found) == sorted(f"{v} · s{seed} · fast · quick" for v in LEVELS for seed in range(4))
    tags = found["no norm · s2 · fast · quick"].data.tags
    assert re.match(r"worse: -\d+\.\d\d points \[-.*\], 4 seeds", tags[f"report.{VIEW}"])
    assert tags["mlflow.note.content"].startswith("**Accuracy 0.8**")
    assert tags["mlflow.note.content"].count(f"- {VIEW}: worse") == 1
    colours = {run.data.tags["variant"]: run.data.tags["mlflow.runColor"] for run in found.values()}
    assert len(set(colours.values())) == 3

    state = json.loads(mlflow.get_experiment_by_name("synthetic").tags[views.TAG + VIEW])
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name("synthetic").experiment_id
    assert len(client.search_runs([experiment], state["searchFilter"])) == 12
    assert set(state["groupsExpanded"]) == {f"tag.variant.{variant}" for variant in LEVELS}
    assert state["compareRunCharts"][0]["range"]["xMax"] == 8

    # A run that is trained again takes the place of the one before.
    links[results[0].spec.config.key] = logged(results[:1])[results[0].spec.config.key]
    publish(make_report(NORMS, results, links=links), results, tmp_path)
    again = of_report(mlflow_runs(mlruns))
    name = results[0].spec.label
    assert again[name].info.run_id != found[name].info.run_id
    assert len(client.search_runs([experiment], state["searchFilter"])) == 12

    places = pages(mlflow)
    assert list(places) == ["ablate_test fast quick synthetic", "all runs on synthetic"]
    assert f"viewStateShareKey={VIEW}&" in places["ablate_test fast quick synthetic"]
    assert views.TAG + "all" in mlflow.get_experiment(experiment).tags


def test_a_run_of_two_phases_keeps_the_verdict_of_the_one_that_judged_it(mlruns: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{mlruns / 'mlflow.db'}")
    results = Lab(NORMS, LEVELS, data="synthetic").under_one_recipe(4)
    links = logged(results)
    retuned = [dataclasses.replace(each, spec=dataclasses.replace(each.spec, phase="retuned")) for each in results]
    show_report(make_report(NORMS, [*results, *retuned], links=links), {})
    tags = of_report(mlflow_runs(mlruns))["no norm · s2 · fast · quick"].data.tags
    assert tags[f"report.{VIEW}"].startswith("worse: ")


def test_the_newest_of_reports_with_the_same_words_is_opened(mlruns: Path, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{mlruns / 'mlflow.db'}")
    for engine in ("tensorflow", "jax"):
        results = Lab(NORMS, LEVELS, data="synthetic").under_one_recipe(2)
        report = make_report(NORMS, results, links=logged(results))
        publish(dataclasses.replace(report, engine=engine), results, tmp_path)
    first, second, *_ = pages(mlflow)
    assert (first, second) == ("ablate_test fast quick synthetic jax", "ablate_test fast quick synthetic")


def test_the_same_report_of_another_machine_leaves_this_one_s_runs_and_view_alone(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database by another name is shared, as a server is.
    uri = f"sqlite:///{mlruns}/../mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    lab = Lab(NORMS, LEVELS, data="synthetic")
    results = lab.under_one_recipe(2)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("synthetic")
    curve = client.create_run(experiment, tags={"variant": "published"}).info.run_id
    earlier = f"report.{VIEW}"

    def shown(machine: str) -> tuple[str, set[str]]:
        """The view of a machine's report, and the runs in it."""
        monkeypatch.setenv("HARNESS_MLRUNS", str(tmp_path / machine))
        links = logged(results)
        for link in links.values():
            for name, value in ({earlier: "better"} | owner()).items():
                client.set_tag(link.run_id, name, value)
        report = make_report(NORMS, results, links=links)
        rows = [dataclasses.replace(row, compared=True) for row in report.variants]
        show_report(dataclasses.replace(report, variants=tuple(rows)), {})
        name = view_name({each: getattr(report, each) for each in IDENTITY} | owner())
        found = in_view(name)
        assert found == {*(link.run_id for link in links.values()), curve}
        assert not any(earlier in client.get_run(run_id).data.tags for run_id in found)
        return name, found

    def in_view(name: str) -> set[str]:
        state = json.loads(client.get_experiment(experiment).tags[views.TAG + name])
        return {run.info.run_id for run in client.search_runs([experiment], state["searchFilter"])}

    first, its_runs = shown("first")
    second, _ = shown("second")
    assert first != second
    assert in_view(first) == its_runs


@pytest.mark.parametrize("read_only", [False, True])
def test_the_pages_of_a_read_only_mlruns_are_served_as_they_are(
    mlruns: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], read_only: bool
) -> None:
    client = open_mlflow().MlflowClient()
    experiment = client.create_experiment("synthetic", str(mlruns / "artifacts" / "synthetic"))
    dead = identity() | {"process": "999999@1@" + identity()["process"].split("@")[2]}
    run = client.create_run(experiment, tags=dead | {"run_key": "ab", "variant": "baseline"}).info.run_id
    client.log_param(run, "epochs", 8)

    def files() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in mlruns.rglob("*") if file.is_file()}

    before = files()
    monkeypatch.setattr(paths, "is_read_only", lambda: read_only)
    monkeypatch.setattr("harness.commands.serve._check_free", lambda *port: None)
    monkeypatch.setattr("os.execve", lambda program, words, environment: None)
    serve(5999)
    assert (files() == before) == read_only
    assert client.get_run(run).info.status == ("RUNNING" if read_only else "KILLED")
    page = views.address(experiment, "" if read_only else "all")
    assert f"http://127.0.0.1:5999{page}" in capfd.readouterr().out
