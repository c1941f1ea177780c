"""Workers as Slurm jobs: what a user gives is passed on, and what is missing is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, document

from harness.common.errors import BadInput, HarnessError
from harness.execute import slurm


def test_options_are_read_as_names_and_values() -> None:
    assert slurm._parse("time=240,partition=gpu, gpus_per_node=1") == {
        "time": 240, "partition": "gpu", "gpus_per_node": 1,
    }  # fmt: skip
    assert slurm._parse("") == {}
    with pytest.raises(BadInput, match="time=240"):
        slurm._parse("partition")


def test_without_submitit_or_slurm_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(HarnessError, match="pip install submitit"):
        slurm.work_through(["true"], 1, "", tmp_path, lambda: None)


def test_the_settings_of_the_job_around_do_not_reach_the_jobs_within(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = {"SLURM_JOB_ID": "5", "SLURM_CPU_BIND": "mask_cpu:0x1", "SLURM_MEM_PER_NODE": "4000", "SRUN_DEBUG": "3"}
    own = {"SLURM_CONF": "/etc/elsewhere/slurm.conf", "SBATCH_PARTITION": "gpu"}
    for name, value in (outer | own).items():
        monkeypatch.setenv(name, value)
    with slurm._outside_of_a_job():
        assert not outer.keys() & os.environ.keys()
        assert own.items() <= os.environ.items()
    assert (outer | own).items() <= os.environ.items()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("sbatch"), reason="no Slurm here")
def test_a_search_runs_on_slurm(harness: Command, mlruns: Path) -> None:
    pytest.importorskip("submitit")
    if subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no Slurm controller answers")
    arguments = ("--budget", "smoke", "--data", "digits", "--trials", "3", "--workers", "2", "--json")
    found = document(harness("search", *arguments, "--slurm", "time=20,cpus_per_task=1"))
    assert found["trials"][0]["ended"] == "complete"
    assert len(found["trials"]) == 3
    assert len(list((mlruns / "workers").glob("*_submission.sh"))) == 2
    refused = harness("search", *arguments, "--slurm", "colour=red", "--study", "other")
    assert refused.returncode == 2
    assert "colour" in refused.stderr
