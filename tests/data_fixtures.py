"""The worlds that the tests of harness.data run in, as a pytest plugin (`pytest_plugins = "data_fixtures"`)."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from data_builders import TEST, TRAIN

from harness.common import paths
from harness.data import download, loader
from harness.data.layouts import official


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without CIFAR-10, with an empty cache, and a network that refuses every connection."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(paths, "PROJECT", tmp_path / "home" / "project")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CIFAR10_URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    return tmp_path


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 has 100 and 20 images in this test."""
    monkeypatch.setattr(loader, "TRAIN_IMAGES", TRAIN)
    monkeypatch.setattr(loader, "TEST_IMAGES", TEST)


@pytest.fixture
def make_official(monkeypatch: pytest.MonkeyPatch):
    """A function that declares an archive the official one of its name."""

    def declare(file: Path) -> None:
        content = file.read_bytes()
        versions = [
            replace(version, archive_md5=hashlib.md5(content).hexdigest(), archive_bytes=len(content))
            if version.archive == file.name
            else version
            for version in official.VERSIONS
        ]
        monkeypatch.setattr(official, "VERSIONS", tuple(versions))
        monkeypatch.setattr(download, "BINARY", versions[0])

    return declare
