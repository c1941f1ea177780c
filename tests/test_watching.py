"""What a user sees in a browser: the study and its trials in the dashboard, the runs behind them in MLflow."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, command, document

from harness.tracking import open_mlflow
from harness.tracking.report_view import pages

BROWSER = shutil.which("chromium")


def page(address: str, profile: Path) -> str:
    """The page as the browser has built it."""
    assert BROWSER
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --virtual-time-budget=15000 --dump-dom"
    shown = subprocess.run(
        [BROWSER, *flags.split(), f"--user-data-dir={profile}", address], capture_output=True, text=True, timeout=120
    )
    return shown.stdout


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here (apt-get install chromium)")
def test_a_search_can_be_watched(mlruns: Path, harness: Command, serve: Callable[..., str], tmp_path: Path) -> None:
    found = document(harness("search", "--budget", "smoke", "--data", "digits", "--trials", "3", "--json"))
    dashboard, ui = serve(*command("dashboard")), serve(*command("ui"))
    study = page(f"{dashboard}/dashboard/studies/1", tmp_path / "profile")
    assert found["study"] in study
    assert "Hyperparameter Importance" in study
    trials = found["trials"]
    for trial in trials:
        shown = page(f"{dashboard}/dashboard/studies/1/trials?numbers={trial['trial']}", tmp_path / "profile")
        (link,) = set(re.findall(r'href="(/mlflow/experiments/[^"]*)"', shown))
        assert link.endswith(trial["mlflow_run_id"])
        assert f'src="/curves/{trial["run_key"]}.png"' in shown
        run = page(f"{dashboard}{link}", tmp_path / "profile")
        assert trial["run_key"] in run
    runs = json.dumps([trial["mlflow_run_id"] for trial in trials[:2]])
    experiment = re.findall(r"experiments/(\d+)", link)[0]
    compared = page(f'{ui}/#/compare-runs?runs={runs}&experiments=["{experiment}"]', tmp_path / "profile")
    assert "Comparing 2 Runs" in compared
    assert "trial 1" in compared


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here (apt-get install chromium)")
def test_the_ui_opens_on_the_comparison(
    mlruns: Path, harness: Command, serve: Callable[..., str], tmp_path: Path
) -> None:
    report = document(harness("run", "ablate_bn", "--budget", "smoke", "--data", "digits", "--seeds", "1", "--json"))
    ui = serve(*command("ui"))
    place = next(iter(pages(open_mlflow()).values()))
    shown = page(f"{ui}{place}", tmp_path / "profile")
    assert shown.index("Accuracy and loss") < shown.index("Model metrics")
    assert all(f"Group: {row['variant']}" in shown for row in report["variants"])
