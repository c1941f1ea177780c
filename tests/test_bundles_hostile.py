"""A bundle whose content is wrong although its seal fits: made by hand, or by another version."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import Make
from conftest import mlflow_runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cli.app import main
from harness.commands.sync import sync
from harness.common.errors import BadInput
from harness.config import from_json
from harness.runs.bundle import read_bundle
from harness.runs.folder import RunFolder
from harness.runs.spec import RunSpec, run_spec_from_json

pytest_plugins = "bundle_fixtures"

DEEP = "[" * 100_000


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], Any]:
    def spoil(path: Path) -> None:
        value = json.loads((path / name).read_text())
        change(value)
        (path / name).write_text(json.dumps(value))

    return spoil


def write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda path: (path / name).write_text(content)


def arrays(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def spoil(path: Path) -> None:
        with np.load(path / "checkpoint.npz") as file:
            stored = dict(file)
        change(stored)
        np.savez_compressed(path / "checkpoint.npz", **stored)

    return spoil


def rename_class(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda result: result["error_per_class"].update({name: result["error_per_class"].popitem()[1]})


def linked(path: Path) -> None:
    shutil.move(path / "artifacts", path.parent.parent / "elsewhere")
    (path / "artifacts").symlink_to(path.parent.parent / "elsewhere")


SPOILED = {
    "a deep history": write("artifacts/history.json", DEEP),
    "a deep spec": write("spec.json", DEEP),
    "a deep config": write("config.json", DEEP),
    "a deep environment": write("environment.json", DEEP),
    "a deep result": write("result.json", DEEP),
    "no JSON": write("result.json", "\x00\x01"),
    "an epoch without its number": edit("artifacts/history.json", lambda rows: rows[1].pop("epoch")),
    "an epoch twice": edit("artifacts/history.json", lambda rows: rows[1].update(epoch=1)),
    "a time that is text": edit("artifacts/history.json", lambda rows: rows[1].update(timestamp="now")),
    "a metric that is text": edit("artifacts/history.json", lambda rows: rows[0].update(train_loss="x")),
    "an epoch without its loss": edit("artifacts/history.json", lambda rows: rows[2].pop("test_loss")),
    "too few epochs": edit("artifacts/history.json", lambda rows: rows.pop()),
    "a history that is none": write("artifacts/history.json", '{"a": 1}'),
    "no accuracy": edit("result.json", lambda result: result["metrics"].clear()),
    "an accuracy of 7": edit("result.json", lambda result: result["metrics"].update(accuracy=7.0)),
    "an accuracy that is no number": edit("result.json", lambda result: result["metrics"].update(accuracy=math.nan)),
    "metrics that are a list": edit("result.json", lambda result: result.update(metrics=[1])),
    "no errors per class": edit("result.json", lambda result: result.update(error_per_class=None)),
    "a ragged confusion matrix": edit("result.json", lambda result: result["confusion"][3].pop()),
    "an unknown status": edit("result.json", lambda result: result.update(status="hacked")),
    "a field too many": edit("result.json", lambda result: result.update(colour="red")),
    "a begin that is text": edit("environment.json", lambda known: known.update(begun="yesterday")),
    "tags that are a list": edit("environment.json", lambda known: known.update(tags=["x"])),
    "a tag that is none": edit("environment.json", lambda known: known["tags"].update(cpu={"a": 1})),
    "a tag of 2 MB": edit("environment.json", lambda known: known["tags"].update(cpu="x" * 2_000_000)),
    "a tag that MLflow has for itself": edit(
        "environment.json", lambda known: known["tags"].update({"mlflow.runName": "x"})
    ),
    "a tag that hides the record": edit("environment.json", lambda known: known["tags"].update(superseded="true")),
    "a tag whose name is a path": edit("environment.json", lambda known: known["tags"].update({"a/../b": "x"})),
    "a tag with a long name": edit("environment.json", lambda known: known["tags"].update({"x" * 300: "x"})),
    "a class with a long name": edit("result.json", rename_class("x" * 300)),
    "a class that is markup": edit("result.json", rename_class("<b>")),
    "a source of 200 kB": edit("environment.json", lambda known: known.update(source="x" * 200_000)),
    "a begin after the end of time": edit("environment.json", lambda known: known.update(begun=10**30)),
    "an end after the end of time": edit("bundle.json", lambda seal: seal.update(ended=10**30)),
    "an epoch after the end of time": edit("artifacts/history.json", lambda rows: rows[0].update(timestamp=10**30)),
    "an epoch before 1970": edit("artifacts/history.json", lambda rows: rows[0].update(timestamp=-5)),
    "a number that no float can be": edit("artifacts/history.json", lambda rows: rows[0].update(pflop=10**400)),
    "right and wrong of no image": edit("result.json", lambda result: result.update(correct="!!!!")),
    "right and wrong of other images": edit("result.json", lambda result: result.update(correct="AAAA" * 99)),
    "a tag with a terminal escape": edit("environment.json", lambda known: known["tags"].update(cpu="\x1b]0;x\x07")),
    "a budget that is a number": edit("spec.json", lambda spec: spec.update(budget=5)),
    "a variant with a terminal escape": edit("spec.json", lambda spec: spec.update(variant="x\x1b[2J")),
    "an unknown setting": edit("config.json", lambda config: config["network"].update(colour="red")),
    "a checkpoint that lacks an array": arrays(lambda stored: stored.pop("model/weight")),
    "weights of another shape": arrays(lambda stored: stored.update({"model/weight": np.zeros(4, np.float32)})),
    "weights of another run": arrays(lambda stored: stored.update({"model/weight": np.ones(3, np.float32)})),
    "a pickle": arrays(lambda stored: stored.update({"model/weight": np.array([print], dtype=object)})),
    "a bomb": arrays(lambda stored: stored.update({"model/weight": np.zeros(2**28, np.uint8)})),
    "no zip": write("checkpoint.npz", "no zip"),
    "a huge file": lambda path: os.truncate(path / "checkpoint.npz", 2**33),
    "a huge text": lambda path: os.truncate(path / "result.json", 2**30),
    "a link to a device": lambda path: (path / "artifacts" / "z").symlink_to("/dev/zero"),
    "a link to a file": lambda path: (path / "artifacts" / "z").symlink_to("/etc/hostname"),
    "a link to a folder": linked,
    "a pipe": lambda path: os.mkfifo(path / "artifacts" / "z"),
    "a folder for a file": lambda path: (path / "artifacts" / "z").mkdir(),
}


def seal_anew(path: Path) -> None:
    """Seal whatever is in the bundle, as one who knows how would."""
    seal = json.loads((path / "bundle.json").read_text())
    for name in (*seal["files"], *(["artifacts/z"] if os.path.lexists(path / "artifacts/z") else [])):
        file = path / name
        small = file.is_file() and not file.is_symlink() and file.stat().st_size < 2**28
        seal["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest() if small else "0" * 64
    (path / "bundle.json").write_text(json.dumps(seal))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", SPOILED)
def test_a_hostile_bundle_is_refused_by_name_and_the_others_go_in(
    make: Make, tmp_path: Path, mlruns: Path, unportrayed: RunSpec, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    good = make(unportrayed)
    other = dataclasses.replace(unportrayed, config=dataclasses.replace(unportrayed.config, seed=1))
    bad = make(other)
    # The bad one comes first.
    bad = shutil.move(bad, tmp_path / "bundles" / "0" / bad.name)
    SPOILED[kind](bad)
    seal_anew(bad)
    found = {row["bundle"]: row for row in sync(tmp_path / "bundles")["bundles"]}
    assert found[str(good)]["status"] == "imported"
    assert found[str(bad)]["status"] == "refused"
    assert str(bad) in found[str(bad)]["reason"]
    folder = RunFolder(other.config)
    assert folder.result() is None
    assert not (folder.path / "environment.json").exists()
    assert len(mlflow_runs(mlruns)) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_that_a_bundle_was_refused_is_in_the_exit_code(
    make: Make, tmp_path: Path, unportrayed: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    SPOILED["no accuracy"](path := make(unportrayed))
    seal_anew(path)
    monkeypatch.setattr("sys.argv", ["harness", "sync", str(tmp_path / "bundles")])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_bit_of_a_bundle_flips_it_is_harmless_or_refused(
    make: Make, unportrayed: RunSpec, data: st.DataObject
) -> None:
    path = make(unportrayed)
    whole = read_bundle(path)
    name = data.draw(st.sampled_from(["bundle.json", *whole.files]))
    content = (path / name).read_bytes()
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (path / name).write_bytes(damaged)
    with contextlib.suppress(BadInput):
        # When it ended is all that the seal itself holds.
        assert dataclasses.replace(read_bundle(path), ended=whole.ended, files=whole.files) == whole
    (path / name).write_bytes(content)


NAMES = st.sampled_from(["network", "recipe", "seed", "config", "epochs", "variant"])
PLAIN = st.none() | st.booleans() | st.floats() | st.text()


@settings(max_examples=200, deadline=None)
@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_a_config_or_spec_of_any_content_is_refused_with_one_kind_of_error(content: Any) -> None:
    for read in (from_json, run_spec_from_json):
        with pytest.raises((ValueError, BadInput)):
            read(json.dumps(content))
