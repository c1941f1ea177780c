"""Makes the pictures in docs/images: real pages and a real terminal, over small runs on CIFAR-10.

    .venv/bin/python docs/screenshots.py

It needs Chromium, and trains what is not done yet in mlruns/screenshots: 16 runs and 12 trials, minutes on two cores.
The runs are far too small to answer anything.
"""

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from rich.console import Console
from rich.text import Text
from tornado.websocket import WebSocketClientConnection, websocket_connect

from harness.common.paths import PROJECT, mlruns
from harness.tracking import open_mlflow
from harness.tracking.report_view import pages

IMAGES = PROJECT / "docs" / "images"
HARNESS = [sys.executable, "-m", "harness"]
RUN = ["run", "ablate_bn", "--budget", "quick:500", "--set", "epochs=4"]
RUN += ["--split", "tune", "--seeds", "4", "--no-retune"]
SEARCH = ["search", "--budget", "smoke", "--data", "cifar10", "--trials", "12"]

#: Columns of the terminal; width and height of a page, in pixels.
TERMINAL = 80
PAGE = (1440, 900)

#: The most that a page may take until it shows what is waited for, and how long its charts then take, in seconds.
PATIENCE, CHARTS = 120, 3

#: Closes what MLflow opens at a first visit: its assistant, a quarter of the page, and a banner.
ALONE = """document.querySelector('[data-component-id="mlflow.assistant.chat_panel.close"]')?.click();
document.querySelector('[data-component-id="mlflow.experiment_page.shared_view.dismiss"]')?.click()"""


class Browser:
    """A headless Chromium with one page, driven by its DevTools protocol."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)

    async def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._connection.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while message := await self._connection.read_message():
            answer = json.loads(message)
            if answer.get("id") == number:
                return answer["result"]
        raise RuntimeError("Chromium has gone.")

    async def evaluate(self, script: str) -> Any:
        answer = await self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def shoot(
        self, address: str, name: str, until: str, *, first: str = "", size: tuple[int, int] = PAGE
    ) -> None:
        """Take the picture of a page. until: a text that it has to show. first: a script that is run before."""
        shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        await self.tell("Emulation.setDeviceMetricsOverride", **shape)
        await self.tell("Page.navigate", url=address)
        deadline = time.monotonic() + PATIENCE
        while not await self.evaluate(f"document.body.innerText.includes({json.dumps(until)})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{address} does not show {until!r}.")
            await asyncio.sleep(0.5)
        if first:
            await self.evaluate(first)
        await asyncio.sleep(CHARTS)
        shot = await self.tell("Page.captureScreenshot", format="png")
        picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
        # 256 colours are enough for pages, and a third of the bytes.
        picture.quantize(256).save(IMAGES / f"{name}.png", optimize=True)
        print(IMAGES / f"{name}.png", (IMAGES / f"{name}.png").stat().st_size // 1000, "kB")


@contextlib.asynccontextmanager
async def browser(program: str) -> Any:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars"
        command = [program, *flags.split(), "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            while not port_file.exists() or not port_file.read_text().strip():
                await asyncio.sleep(0.1)
            port = port_file.read_text().split()[0]
            pages = requests.get(f"http://127.0.0.1:{port}/json", timeout=10).json()
            address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            yield Browser(await websocket_connect(address, max_message_size=50_000_000))
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def served(command: str) -> Iterator[str]:
    """Serve `harness ui` or `harness dashboard`; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*HARNESS, command, "--port", str(port)], **quiet)
    try:
        address = f"http://127.0.0.1:{port}"
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(address, timeout=5)
                break
            if server.poll() is not None:
                raise RuntimeError(f"`harness {command}` ended at once.")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def terminal(words: list[str]) -> str:
    """What a command prints on a terminal of 80 columns, as SVG."""
    environment = os.environ | {"COLUMNS": str(TERMINAL), "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run([*HARNESS, *words], env=environment, capture_output=True, text=True, check=True)
    console = Console(record=True, width=TERMINAL, file=io.StringIO())
    shown = " ".join(words)
    console.print(f"$ harness {shown}", highlight=False)
    console.print(Text.from_ansi(done.stdout.rstrip().replace(str(mlruns()), "mlruns")))
    return console.export_svg(title="")


async def main() -> None:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        sys.exit("There is no Chromium here: apt-get install chromium.")
    os.environ.setdefault("HARNESS_MLRUNS", str(PROJECT / "mlruns" / "screenshots"))
    subprocess.run([*HARNESS, *SEARCH], check=True, stdout=subprocess.DEVNULL)
    document = json.loads(subprocess.run([*HARNESS, *RUN, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    report = Path(document["folder"]) / "report.html"
    view = next(place for label, place in pages(open_mlflow()).items() if label.startswith("ablate_bn"))
    with (
        tempfile.NamedTemporaryFile("w", suffix=".html") as drawn,
        served("ui") as ui,
        served("dashboard") as dashboard,
    ):
        drawn.write(f'<meta charset="utf-8"><body style="margin: 0">{terminal(RUN)}</body>')
        drawn.flush()
        async with browser(program) as chromium:
            await chromium.shoot(f"file://{drawn.name}", "terminal", "verdict", size=(994, 1028))
            await chromium.shoot(f"file://{report}", "report", "What was predicted", size=(900, 1000))
            await chromium.shoot(f"{ui}{view}", "mlflow-view", "Accuracy and loss", first=ALONE)
            (study, *_) = requests.get(f"{dashboard}/api/studies", timeout=60).json()["study_summaries"]
            place = f"{dashboard}/dashboard/studies/{study['study_id']}"
            await chromium.shoot(place, "dashboard", study["study_name"])


if __name__ == "__main__":
    asyncio.run(main())
