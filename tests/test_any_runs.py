"""Anybody's runs, compared: from a CSV file and from MLflow, with everything that is not used named."""

import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import Command, document, shown
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from harness.analysis.any_runs import AnyRun, compare_groups
from harness.commands import compare_any
from harness.commands.compare_any import AnyOptions
from harness.common import paths
from harness.common.errors import BadInput, HarnessError
from harness.engine.backend import import_keras
from harness.tracking.mlflow_store import open_mlflow

import_keras("tensorflow")

import keras  # noqa: E402

TABLE = """\
optimizer,seed,accuracy,status
sgd,0,0.80,finished
sgd,1,0.81,finished
sgd,2,0.805,finished
sgd,3,0.79,finished
adam,0,0.85,finished
adam,1,0.86,finished
adam,2,0.853,finished
adam,3,,finished
adam,4,0.9,finished
muon,0,nan,finished
muon,1,0.81,failed
muon,1,0.82,finished
muon,1,0.83,finished
muon,2,0.80,finished
muon,3,high,finished

,3,0.79,finished
<b>,3,0.79,finished
"""
QUESTION = ("--group-by", "optimizer", "--baseline", "sgd", "--metric", "accuracy")


def runs(**groups: list[float]) -> list[AnyRun]:
    return [AnyRun(f"{g} {i}", g, str(i), value) for g, values in groups.items() for i, value in enumerate(values)]


def test_the_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 0.1, 6), rng.normal(0.7, 0.1, 6)
    (_, row) = compare_groups(runs(a=list(a), b=list(b)), "a", paired=True).rows
    wanted = stats.ttest_rel(b, a)
    assert (row.p, row.p_holm) == pytest.approx((wanted.pvalue, wanted.pvalue))
    assert row.interval == pytest.approx(tuple(wanted.confidence_interval()))
    (_, row) = compare_groups(runs(a=list(a), b=list(b[:4])), "a", paired=False).rows
    wanted = stats.ttest_ind(b[:4], a, equal_var=False)
    assert row.p == pytest.approx(wanted.pvalue)
    assert row.interval == pytest.approx(tuple(wanted.confidence_interval()))
    assert row.pairs is None


def test_equal_numbers_have_no_spread_whatever_their_mean_is_rounded_to() -> None:
    (first, row) = compare_groups(runs(a=[0.1] * 3, b=[0.3] * 3), "a", paired=False).rows
    assert (row.verdict, row.p, row.sd, first.sd) == ("no spread", None, 0, 0)


def test_a_lower_loss_is_better_and_two_groups_are_a_family() -> None:
    found = runs(a=[5.0, 5.1, 4.9], b=[3.0, 3.1, 2.95], c=[7.0, 7.2, 6.9], d=[5.0], e=[5.0, 5.1, 4.9])
    rows = {row.group: row for row in compare_groups(found, "a", paired=True, higher_is_better=False).rows}
    assert {name: row.verdict for name, row in rows.items()} == {
        "a": None, "b": "better", "c": "worse", "d": "too few runs", "e": "no spread",
    }  # fmt: skip
    assert rows["b"].p_holm > rows["b"].p
    assert all((row.interval[0] > 0 or row.interval[1] < 0) == (row.p_holm < 0.05) for row in rows.values() if row.p)


def test_a_csv_file_is_compared_and_what_is_not_used_is_named(harness: Command, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(TABLE)
    options = ("compare", "--csv", str(tmp_path / "runs.csv"), *QUESTION, "--block", "seed", "--to", str(tmp_path))
    found = document(harness(*options, "--json"))
    verdicts = {row["group"]: (row["n"], row["pairs"], row["verdict"]) for row in found["rows"]}
    assert verdicts == {
        "sgd": (4, None, None), "adam": (4, 3, "better"), "muon": (2, 2, "undecided"), "<b>": (1, 1, "too few runs"),
    }  # fmt: skip
    named = " | ".join(found["left_out"])
    for sentence in (
        "line 9: it has no such metric", "line 11: its metric is nan", "line 12: its status is failed",
        "line 13: line 14 is of the same group and block, and comes later",
        "line 16: its accuracy is no number ('high')",
        "line 18: it is of no group", "adam, block 4: no such run of sgd", "sgd, block 3: no such run of adam",
    ):  # fmt: skip
        assert sentence in named
    page = (tmp_path / "report.html").read_text()
    assert "adam (+0.0493" in page
    assert "line 9: it has no such metric" in page
    assert "<b>" not in page
    assert not re.search(r"(src|href)=\"?http|url\(\W*http", page)
    assert json.loads((tmp_path / "comparison.json").read_text())["rows"][1]["group"] == "adam"
    said = harness(*options)
    assert "not used: line 12: its status is failed" in said.stdout
    (sentence,) = re.findall(r"adam \(\+0\.0493 \[(.*?), (.*?)\]\) is better than sgd\.", " ".join(said.stdout.split()))
    # Wider than the 95 % interval of adam alone, as the groups are a family.
    assert float(sentence[0]) < 0.0452
    assert float(sentence[1]) > 0.0535


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--csv", "nowhere.csv", *QUESTION), "nowhere.csv cannot be read"),
        (("--csv", "runs.csv", "--group-by", "optimzer", *QUESTION[2:]), "did you mean optimizer?"),
        (("--csv", "runs.csv", *QUESTION[:2], "--baseline", "lion", *QUESTION[4:]), "there are such of sgd, adam"),
        (("--csv", "runs.csv", *QUESTION[:4]), "--metric is missing"),
        (("--csv", "runs.csv", "--mlflow", "x", *QUESTION), "give one of them"),
        (("baseline", "--csv", "runs.csv", *QUESTION), "baseline does not go with --csv"),
        (("--mlflow", "sqlite:///none.db", *QUESTION), "--experiment is missing"),
        (("--mlflow", "sqlite:///none.db", *QUESTION, "--experiment", "x"), "none.db: there is no database of MLflow"),
        (
            ("--mlflow", "sqlite:////dev/null", *QUESTION, "--experiment", "x"),
            "/dev/null: there is no database of MLflow",
        ),
        (("--mlflow", "http://me:S3/cret@host", *QUESTION), "--mlflow http://host is no URL that can be opened"),
        (("--csv", "runs.csv", *QUESTION, "--block", "optimizer"), "--block optimizer is what --group-by names"),
        (("--csv", "runs.csv", *QUESTION, "--to", "runs.csv"), "as runs.csv is a file: give a folder"),
        ((), "Say what to compare"),
    ],
)
def test_bad_input_is_said_in_a_sentence(
    tmp_path: Path, mlruns: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    from harness.cli import app

    (tmp_path / "runs.csv").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "compare", *options])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    said = " ".join(capfd.readouterr().err.split())
    assert (says in said, "cret" in said) == (True, False)


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("MLFLOW_TRACKING_URI", "another application's"),
        ("--mlflow", "another application's"),
        ("--mlflow", "none"),
        ("--mlflow", "no file"),
    ],
)
def test_a_database_that_is_not_mlflows_is_left_as_it_is(
    mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, content: str
) -> None:
    file = tmp_path / "100% theirs?.db"
    if content != "no file":
        file.touch()
    if content == "another application's":
        with sqlite3.connect(file) as theirs:
            theirs.executescript("CREATE TABLE studies (id); CREATE TABLE alembic_version (version)")
    before = file.exists() and file.read_bytes()
    uri = paths.sqlite_url(file)
    asked = AnyOptions(
        csv=None, mlflow=uri, experiment="e", group_by="g", baseline="a", metric="m", block=None, lower_is_better=False
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadInput, match=f"^{option}[ =]sqlite.*(another application|no database of MLflow)"):
        if option == "--mlflow":
            compare_any.compare_any(asked, None)
        else:
            open_mlflow()
    assert (file.exists() and file.read_bytes()) == before


def test_a_database_of_an_earlier_mlflow_is_left_as_it_is(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would bring it up to date where it lacks a table, and the version that made it would no longer open it."""
    file = mlruns / "theirs.db"
    shutil.copy(mlruns / "mlflow.db", file)
    with sqlite3.connect(file) as theirs:
        theirs.execute("UPDATE alembic_version SET version_num = 'b7c8d9e0f1a2'")
        theirs.execute("DROP TABLE webhook_events")
    before = file.read_bytes()
    asked = AnyOptions(
        csv=None, mlflow=f"sqlite:///{file}", experiment="e", group_by="g", baseline="a", metric="m", block=None,
        lower_is_better=False,
    )  # fmt: skip
    with pytest.raises(HarnessError, match="of another version of MLflow"):
        compare_any.compare_any(asked, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    with pytest.raises(HarnessError, match="of another version of MLflow"):
        open_mlflow()
    assert file.read_bytes() == before


def test_the_runs_of_any_mlflow_experiment_are_compared_without_a_framework(mlruns: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{mlruns / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("theirs", str(tmp_path / "artifacts"))

    def run(rate: str, seed: int, loss: float | None, status: str = "FINISHED") -> None:
        made = client.create_run(experiment, run_name=f"{rate}-{seed}").info.run_id
        client.log_param(made, "lr", rate)
        client.set_tag(made, "seed", str(seed))
        if loss is not None:
            client.log_metric(made, "val_loss", loss)
        client.set_terminated(made, status)

    for seed in range(4):
        run("0.1", seed, 1.0 + 0.01 * seed)
        run("0.01", seed, 0.5 + 0.02 * seed)
    for seed, loss, status in ((0, None, "FINISHED"), (1, 1.0, "FAILED"), (2, float("inf"), "FINISHED")):
        run("1.0", seed, loss, status)
    code = (
        "import sys; from harness.cli import app; app.main.__globals__['sys'].argv = sys.argv\n"
        "try: app.main()\n"
        "finally: print(sorted({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    options = f"compare --mlflow {uri} --experiment theirs --group-by lr --baseline 0.1 --metric val_loss --block seed"
    done = subprocess.run(
        [sys.executable, "-c", code, *options.split(), "--lower-is-better", "--json", "--to", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    found = document(done)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert [(row["group"], row["n"], row["verdict"]) for row in found["rows"]] == [
        ("0.1", 4, None), ("0.01", 4, "better"),
    ]  # fmt: skip
    named = [sentence.partition("): ")[2] for sentence in found["left_out"]]
    assert named == ["it has no such metric", "its status is FAILED", "its metric is inf"]


def test_runs_of_autologging_and_by_hand_are_compared(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """scikit-learn's autologging, Keras's, and runs without any name their parameters and metrics each in its way."""
    uri = f"sqlite:///{mlruns / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)  # an earlier test of this process may have set another
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:300] / 16, labels[:300]

    def logged(name: str, train: Callable[[str, int], None]) -> None:
        mlflow.set_experiment(mlflow.create_experiment(name, str(tmp_path / name)) and name)
        for group, seed in itertools.product(("0.5", "0.0001"), range(3)):
            with mlflow.start_run(tags={"seed": str(seed)}):
                train(group, seed)

    def sklearn(c: str, seed: int) -> None:
        drawn = np.random.default_rng(seed).permutation(300)[:200]
        LogisticRegression(C=float(c), max_iter=20).fit(images[drawn], labels[drawn])

    def keras_fit(rate: str, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax")])
        model.compile(keras.optimizers.SGD(float(rate)), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(images, labels, epochs=3, verbose=0)

    def by_hand(rate: str, seed: int) -> None:
        mlflow.log_params({"rate": rate, "seed": seed})
        mlflow.log_metric("score", float(rate) + 0.01 * seed**2)

    mlflow.sklearn.autolog(log_models=False, log_datasets=False)
    mlflow.keras.autolog(log_models=False, log_datasets=False)
    try:
        logged("sklearn", sklearn)
        logged("keras", keras_fit)
        logged("hand", by_hand)
    finally:
        mlflow.autolog(disable=True)
    for name, column, baseline, metric in (
        ("sklearn", "C", "0.5", "training_accuracy_score"),
        ("keras", "optimizer_learning_rate", "0.5", "accuracy"),
        ("hand", "rate", "0.5", "score"),
    ):
        what = f"compare --mlflow {uri} --experiment {name} --group-by {column} --baseline {baseline} --metric {metric}"
        code, out, errors = shown(capsys, monkeypatch, *what.split(), "--block", "seed", "--json")
        assert code == 0, errors
        rows = json.loads(out)["rows"]
        assert [row["n"] for row in rows] == [3, 3], (name, rows)
        assert rows[1]["verdict"] == ("no spread" if name == "hand" else "worse"), name
    # The answer is logged where the runs are, once, and is no run of the comparison when that is asked again. It takes
    # the place of one with a group that is no longer there.
    client = mlflow.MlflowClient(uri)
    former = client.create_run(
        client.get_experiment_by_name("hand").experiment_id,
        tags={compare_any.COMPARISON: f"harness {what} --log"},
    )
    client.log_metric(former.info.run_id, "difference/gone", 0.1)
    for _ in range(2):
        code, out, errors = shown(capsys, monkeypatch, *what.split(), "--log", "--json")
        assert code == 0, errors
        assert [row["n"] for row in json.loads(out)["rows"]] == [3, 3]
    (answer,) = (
        run for run in client.search_runs([client.get_experiment_by_name("hand").experiment_id])
        if compare_any.COMPARISON in run.data.tags
    )  # fmt: skip
    assert answer.data.metrics == {"difference/0.0001": pytest.approx(-0.4999)}
    assert f"{what} --log" in answer.data.tags["mlflow.note.content"]
    files = {file.path for file in client.list_artifacts(answer.info.run_id)}
    assert files == {"comparison.json", "report.html", "table.csv"}


GOOD = "g,m\na,1\na,2\nb,3\nb,5\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("g,m,m\na,1,9\na,2,9\nb,3,9\n", "it has two columns called m"),
        ("g,m\na,1\na,2\nb,3,late\n", "line 4 has 3 values, and the header 2 names"),
        # Every row has one more: values would be taken from the column to the left.
        ("g,m,n\nx,a,1,9\nx,a,2,9\nx,b,3,9\n", "line 2 has 4 values, and the header 3 names"),
        ('g,m\na,1\n"b,2\nb",3\nb,5\n', "line 4 has a line break in its g: is a quote not closed?"),
        ('g,m\na,1\n"b,2\nb,3\n', "unexpected end of data"),
        (GOOD.encode() + b"\xff", "can't decode byte 0xff"),
        ("", "it has no header"),
        ("\n\n", "it has no header"),
        (None, "it is no regular file"),
    ],
)
def test_a_csv_file_that_may_be_read_in_two_ways_is_refused(
    tmp_path: Path, content: str | bytes | None, why: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    file = tmp_path / "runs.csv.zip"  # its name does not count
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    question = ("--group-by", "g", "--baseline", "a", "--metric", "m", "--to", str(tmp_path))
    code, _, errors = shown(capsys, monkeypatch, "compare", "--csv", str(file), *question)
    assert (code, why in " ".join(errors.split())) == (2, True), errors


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n"])
def test_a_csv_file_of_a_spreadsheet_is_read(tmp_path: Path, encoding: str, line_end: str) -> None:
    text = GOOD.replace("\n", line_end) + f"a,1_0{line_end}"
    (tmp_path / "runs.csv").write_bytes(text.encode(encoding))
    options = compare_any.AnyOptions(
        csv=tmp_path / "runs.csv", mlflow=None, experiment=None, group_by="g", baseline="a", metric="m", block=None,
        lower_is_better=False,
    )  # fmt: skip
    _, compared, _ = compare_any.compare_any(options, tmp_path)
    assert [(row.group, row.n, row.mean) for row in compared.rows] == [("a", 2, 1.5), ("b", 2, 4)]
    assert compared.left_out == ("line 6: its m is no number ('1_0')",)


def test_differences_that_are_equal_but_for_their_last_digits_have_no_spread() -> None:
    values = {"a": (0.3, 0.2, 0.7), "b": (0.2, 0.1, 0.6)}
    assert len({one - other for one, other in zip(*values.values(), strict=True)}) > 1
    runs = [AnyRun(f"{name}{i}", name, str(i), value) for name, each in values.items() for i, value in enumerate(each)]
    _, row = compare_groups(runs, "b", paired=True).rows
    assert (row.verdict, row.p, row.pairs) == ("no spread", None, 3)


def of_csv(file: Path, **options: object) -> AnyOptions:
    asked = {"group_by": "g", "baseline": "a", "metric": "m", "block": None, "lower_is_better": False}
    return AnyOptions(csv=file, mlflow=None, experiment=None, **asked | options)  # type: ignore[arg-type]


def test_another_question_has_a_folder_of_its_own(mlruns: Path, tmp_path: Path) -> None:
    files = [tmp_path / name / "runs.csv" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text("g,m,seed\na,1,0\na,2,1\nb,3,0\nb,5,1\n")
    asked = [*map(of_csv, files), of_csv(files[0], baseline="b"), of_csv(files[0], block="seed")]
    asked.append(of_csv(files[0], lower_is_better=True))
    folders = [compare_any.compare_any(each, None)[2][0].parent for each in asked]
    assert len(set(folders)) == 5
    assert compare_any.compare_any(asked[0], None)[2][0].parent == folders[0]


@pytest.mark.filterwarnings("error")
def test_nothing_to_draw_is_drawn_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("g,m,seed\na,1,0\nb,3,1\n")
    compared = compare_any.compare_any(of_csv(tmp_path / "runs.csv", block="seed"), tmp_path)[1]
    assert [row.difference for row in compared.rows] == [None, None]


def test_an_answer_that_cannot_be_kept_is_shown(
    mlruns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs.csv").write_text(TABLE)
    ask = ("compare", "--csv", str(tmp_path / "runs.csv"), *QUESTION)
    code, _, errors = shown(capsys, monkeypatch, *ask, "--to", str(tmp_path / "runs.csv"))
    assert (code, "is better than sgd" in " ".join(errors.split())) == (2, True)
    monkeypatch.setattr(paths, "is_read_only", lambda: True)
    code, text, errors = shown(capsys, monkeypatch, *ask)
    assert (code, "is better than sgd" in " ".join(text.split()), "--to" in errors) == (0, True, True)
    assert not (mlruns / "reports").exists()
