"""The download, against a server on this machine."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from data_builders import small, write_archive, write_binary

from harness import data
from harness.commands.execution import find_data
from harness.common.errors import BadInput
from harness.data import download
from harness.data.dataset import fingerprint

pytest_plugins = "data_fixtures"
pytestmark = pytest.mark.usefixtures("isolated", "small_counts")


@dataclass
class Mirror:
    """What the server does, and what it was asked."""

    content: bytes
    url: str = ""
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    status: int = 200
    asked: list[str | None] = field(default_factory=list)  # the Range of each request


@pytest.fixture
def mirror(tmp_path, monkeypatch, make_official) -> Iterator[Mirror]:
    folder = write_binary(tmp_path / "cifar-10-batches-bin", small())
    archive = write_archive(tmp_path / "server" / "cifar-10-binary.tar.gz", folder)
    make_official(archive)
    state = Mirror(archive.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.ranges else 0
            rest = state.content[start:]
            if start and not rest:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.breaks.pop(0)] if state.breaks else rest)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/mirror/of/cifar10.tgz"
    monkeypatch.setenv("CIFAR10_URL", state.url)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def downloaded() -> list[str]:
    folder = download.folder()
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def part() -> Path:
    return download.folder() / "cifar-10-binary.tar.gz.part"


def start_part(content: bytes) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(content)


def test_the_whole_archive_and_then_never_again(mirror, capfd) -> None:
    dataset = data.load()
    assert dataset.name == "cifar10"  # by the checksum of its archive
    assert dataset.fingerprint == fingerprint(*small()[:4])
    assert dataset.source == str(download.folder() / "cifar-10-binary.tar.gz")
    assert downloaded() == ["cifar-10-binary.tar.gz"]
    assert data.load().layout == "official binary archive"
    assert mirror.asked == [None]
    out, err = capfd.readouterr()
    assert out == ""
    assert "Downloading cifar-10-binary.tar.gz" in err


def test_a_part_is_continued(mirror) -> None:
    start_part(mirror.content[:1000])
    data.load()
    assert mirror.asked == ["bytes=1000-"]
    assert downloaded() == ["cifar-10-binary.tar.gz"]


def test_a_server_without_range_starts_over(mirror) -> None:
    mirror.ranges = False
    start_part(b"x" * 1000)
    data.load()
    assert mirror.asked == ["bytes=1000-"]


def test_a_complete_part_is_only_verified(mirror) -> None:
    start_part(mirror.content)
    data.load()
    assert downloaded() == ["cifar-10-binary.tar.gz"]


def test_a_broken_connection_is_continued_at_once(mirror) -> None:
    mirror.breaks = [5000, 7000]
    data.load()
    assert mirror.asked == [None, "bytes=5000-", "bytes=12000-"]


def test_a_connection_that_brings_nothing_more_keeps_the_part(mirror) -> None:
    mirror.breaks = [5000, 0]
    with pytest.raises(BadInput, match="broke off after 5,000 bytes, which are kept"):
        data.load()
    assert part().read_bytes() == mirror.content[:5000]
    data.load()
    assert mirror.asked[-1] == "bytes=5000-"


def test_the_wrong_checksum_deletes_the_part(mirror) -> None:
    mirror.content = mirror.content[:-1] + b"?"
    with pytest.raises(BadInput) as caught:
        find_data(None, may_fall_back=True)
    assert "wrong checksum" in str(caught.value)
    assert "has been deleted" in str(caught.value)
    assert mirror.url in str(caught.value)
    assert downloaded() == []


def test_a_web_page_in_its_place_deletes_the_part(mirror) -> None:
    mirror.content = b"<html>Please log in to this network</html>"
    with pytest.raises(BadInput, match="is truncated: 42 of"):
        data.load()
    assert downloaded() == []


def test_a_server_that_refuses(mirror) -> None:
    mirror.status = 503
    with pytest.raises(BadInput, match=r"answers 503 Service Unavailable.*Ways to get CIFAR-10"):
        data.load()
    assert find_data(None, may_fall_back=True).name == "digits"


def test_no_network() -> None:
    with pytest.raises(BadInput) as caught:
        data.load()
    message = str(caught.value)
    assert "cannot be reached" in message
    assert data.how_to_get_cifar10() in message
    assert "\n" not in message


def test_a_mirror_that_is_no_address(monkeypatch) -> None:
    monkeypatch.setenv("CIFAR10_URL", "cifar10.example")
    with pytest.raises(BadInput, match=r"\$CIFAR10_URL is cifar10.example, which is no http"):
        find_data(None, may_fall_back=True)


def test_a_folder_that_cannot_be_written(mirror, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BadInput, match=r"cannot be written.*HARNESS_CACHE"):
        data.load()


def test_two_at_once_download_once(mirror) -> None:
    threads = [threading.Thread(target=download.download) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mirror.asked == [None]
    assert downloaded() == ["cifar-10-binary.tar.gz"]
