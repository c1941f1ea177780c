"""Both ends of the pipe between the bench and the processes that it measures. A message is one line of JSON."""

import contextlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, cast

from harness.common.errors import HarnessError

LAST_LINES = 8


class Child:
    """The parent's end: a new process of `python -m MODULE ARGUMENTS`, which is killed at the end of the block."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = " ".join((module, *arguments))
        # A file and not a pipe: a full pipe that nobody reads would block the child. Closed in __exit__.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment,
        )  # fmt: skip
        self._to = cast(IO[str], self._process.stdin)
        self._from = cast(IO[str], self._process.stdout)

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # flushing unsent data fails, because the child is dead
            self._to.close()
        self._from.close()
        self._errors.close()

    def ask(self) -> dict[str, Any]:
        """Send "go" and wait for the answer."""
        with contextlib.suppress(OSError):  # the child is dead; `answer` raises the error
            self._to.write("go\n")
            self._to.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next message. Raises HarnessError, with the child's last lines, if the child ends without one."""
        line = self._from.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        words = [text.strip() for text in self._errors.read().splitlines() if text.strip()][-LAST_LINES:]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if code == -signal.SIGKILL:
            how += ", most often for a lack of memory,"
        raise HarnessError(
            f"The bench stopped, as its process `python -m {self.name}` {how} before its answer. Run that command by "
            f"itself to see all it says. Its last lines: {' | '.join(words) or 'none'}"
        )


class Parent:
    """The child's end. The child exits at once when the parent has ended for whatever reason.

    It reserves stdout for messages: everything that libraries print goes to stderr.
    """

    def __init__(self) -> None:
        self._to = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._questions: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._questions.put(line)
        os._exit(1)

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message."""
        self._to.write(json.dumps(message) + "\n")
        self._to.flush()

    def wait(self) -> None:
        """Wait for the parent's next "go", without using processor time."""
        self._questions.get()


def peak_memory_gb() -> float:
    """Return the peak memory of this process in GB (1e9 bytes), pages of memory-mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
