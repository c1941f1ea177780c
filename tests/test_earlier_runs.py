"""Runs of the earlier layout are found where their numbers did not change, and left alone where they did."""

import json
from pathlib import Path

import pytest
from conftest import finished, small_config

from harness.config import from_json
from harness.runs import earlier
from harness.runs.folder import RunFolder, all_runs
from harness.source_hash import source_hash


def earlier_run(mlruns: Path, source: str) -> Path:
    """A finished run as the earlier version left it: without the settings that came since."""
    values = json.loads(small_config().to_json()) | {"source": source}
    del values["network"]["pooling"]
    folder = mlruns / "runs" / "0123456789abcdef"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(values))
    result = vars(finished()) | {"measured_by": ""}
    del result["measured_by"]
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_run_of_the_same_numbers_gets_the_key_of_today(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "SAME_NUMBERS", {"tensorflow": (("long before", "before"), "now")})
    monkeypatch.setattr(earlier, "ALL_IMAGES", small_config().train_images)
    monkeypatch.setattr(earlier, "source_hash", lambda engine: "now")
    old = earlier_run(mlruns, "before")
    assert earlier.adopt_earlier_runs() == 1
    assert not old.exists()
    (run,) = all_runs()
    values = json.loads(small_config().to_json()) | {"source": "now"}
    assert run.config == from_json(json.dumps(values))
    assert run.result() is not None
    assert RunFolder(run.config).path.is_dir()
    assert earlier.adopt_earlier_runs() == 0


def test_a_kill_before_the_folder_is_renamed_is_made_good(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "SAME_NUMBERS", {"tensorflow": (("long before", "before"), "now")})
    monkeypatch.setattr(earlier, "ALL_IMAGES", small_config().train_images)
    monkeypatch.setattr(earlier, "source_hash", lambda engine: "now")
    earlier_run(mlruns, "before")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(earlier.os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            earlier.adopt_earlier_runs()
    assert earlier.adopt_earlier_runs() == 1
    assert len(all_runs()) == 1


def test_a_run_of_other_numbers_and_what_is_no_run_are_left_alone(mlruns: Path) -> None:
    old = earlier_run(mlruns, "other")
    (mlruns / "runs" / "broken").mkdir()
    (mlruns / "runs" / "broken" / "config.json").write_text("[1, 2")
    assert earlier.adopt_earlier_runs() == 0
    assert old.is_dir()


def test_a_run_on_some_of_the_images_is_left_alone(mlruns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was trained on other images than a run of the same config would be now."""
    monkeypatch.setattr(earlier, "SAME_NUMBERS", {"tensorflow": (("before",), "now")})
    monkeypatch.setattr(earlier, "source_hash", lambda engine: "now")
    monkeypatch.setattr(earlier, "ALL_IMAGES", small_config().train_images + 1)
    old = earlier_run(mlruns, "before")
    assert earlier.adopt_earlier_runs() == 0
    assert old.is_dir()


@pytest.mark.parametrize("engine", sorted(earlier.SAME_NUMBERS))
def test_the_hash_of_today_is_that_of_this_code(engine: str) -> None:
    """If this fails, numbers have changed: the table is then void, and goes."""
    assert earlier.SAME_NUMBERS[engine][1] == source_hash(engine)
