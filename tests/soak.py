"""Draw faults at random against real commands for as long as is given; `make soak MINUTES=60`.

Each round starts a command in a new `mlruns/`, injects one to three faults while it works, and gives the command again
until it ends well. Then every result has to have the weights of the undisturbed run, MLflow has to have every run once
and none that is RUNNING, and the model has to load. A round in which anything of that is not so is a loss: its folder
is kept, and the exit code is 1. Everything is written to a temporary folder.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image
from soak_server import TrackingServer

SMOKE = ("--budget", "smoke", "--data", "digits", "--json")
COMMANDS = {
    "one run": ("run", "baseline", *SMOKE, "--no-probe", "--set", "epochs=12"),
    "ablation": ("run", "ablate_order", *SMOKE, "--no-probe", "--set", "epochs=8", "--workers", "2"),
    "search": ("search", *SMOKE, "--trials", "3", "--study", "soak"),
}

#: The share of rounds whose runs are told to a server and not to the database in `mlruns/`.
SERVED = 0.3

#: How often a command is given again before a round counts as lost.
TRIES = 4

#: Seconds after which a command counts as hanging.
PATIENCE = 900


class Round:
    """A command in an `mlruns/` of its own, with a tracking server of its own if it is `served`, and what is done."""

    def __init__(self, folder: Path, words: tuple[str, ...], *, served: bool = False) -> None:
        folder.mkdir(parents=True)
        self.folder, self.words = folder, words
        self.mlruns = folder / "mlruns"
        self.server = TrackingServer(folder / "server") if served else None
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def database(self) -> Path:
        """The database of MLflow."""
        return self.server.database if self.server else self.mlruns / "mlflow.db"

    def environment(self) -> dict[str, str]:
        """Return the environment of its commands."""
        own = {"HARNESS_MLRUNS": str(self.mlruns), "SOAK_ROUND": str(self.folder)}
        return os.environ | own | ({"MLFLOW_TRACKING_URI": self.server.url} if self.server else {})

    def start(self) -> None:
        """Start the command."""
        command = [sys.executable, "-m", "harness", *self.words]
        with (self.folder / "out.json").open("wb") as out, (self.folder / "log.txt").open("ab") as log:
            self.started.append(subprocess.Popen(command, env=self.environment(), stdout=out, stderr=log))

    def tree(self) -> list[psutil.Process]:
        """Return all processes that the commands started, and those of them that outlived their parent."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SOAK_ROUND") == str(self.folder):
                    found.append(process)
        return found

    def signal(self, number: int, processes: list[psutil.Process]) -> None:
        """Send a signal to some processes."""
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def is_going_on(self) -> bool:
        """Whether a command is still running."""
        return any(process.poll() is None for process in self.started)

    def end(self) -> list[int]:
        """Wait for the commands that were started, and return their exit codes."""
        deadline = time.monotonic() + PATIENCE
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(1.0, deadline - time.monotonic()))
        if self.is_going_on():
            self.signal(signal.SIGKILL, self.tree())
            raise SystemExit(f"{self.words} hangs in {self.folder}")
        codes = [process.wait() for process in self.started]
        self.started = []
        return codes


def kill(round_: Round, rng: random.Random) -> None:
    """kill -9 of the command; its workers find out by themselves."""
    for process in round_.started:
        process.kill()
    round_.end()
    round_.start()


def kill_all(round_: Round, rng: random.Random) -> None:
    """kill -9 of the command and its workers at once, as a power cut does."""
    round_.signal(signal.SIGKILL, round_.tree())
    round_.end()
    round_.start()


def kill_one(round_: Round, rng: random.Random) -> None:
    """kill -9 of one of the processes."""
    if tree := round_.tree():
        round_.signal(signal.SIGKILL, [rng.choice(tree)])


def suspend(round_: Round, rng: random.Random) -> None:
    """The lid of the laptop is closed for a while."""
    tree = round_.tree()
    round_.signal(signal.SIGSTOP, tree)
    time.sleep(rng.uniform(1, 15))
    round_.signal(signal.SIGCONT, tree)


def lock(round_: Round, rng: random.Random) -> None:
    """Another program holds a database."""
    file = round_.mlruns / rng.choice(["mlflow.db", "optuna.db"])
    if file.exists():
        with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN EXCLUSIVE")
            time.sleep(rng.uniform(1, 40))


def delete(round_: Round, rng: random.Random) -> None:
    """A database is deleted. The results of a search are nowhere else, and are not made again: see `FAULTS`."""
    (round_.mlruns / rng.choice(["mlflow.db", "optuna.db"])).unlink(missing_ok=True)


def move(round_: Round, rng: random.Random) -> None:
    """The command is killed, and the folder is moved before it is given again."""
    round_.signal(signal.SIGKILL, round_.tree())
    round_.end()
    moved = round_.mlruns.with_name(f"mlruns-{rng.randrange(1000)}")
    if round_.mlruns.exists() and not moved.exists():
        round_.mlruns.rename(moved)
        round_.mlruns = moved
    round_.start()


def twice(round_: Round, rng: random.Random) -> None:
    """The same command is given a second time."""
    round_.start()


def interrupt(round_: Round, rng: random.Random) -> None:
    """Ctrl-C, or the SIGTERM of a batch system."""
    number = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    for process in round_.started:
        process.send_signal(number)


def fill(round_: Round, rng: random.Random) -> None:
    """The disk is full for a while. Root only: `mlruns/` is moved to a small one for that."""
    round_.signal(signal.SIGKILL, round_.tree())
    round_.end()
    disk = round_.folder / "disk"
    if not disk.exists() and round_.mlruns.exists():
        disk.mkdir()
        used = sum(file.stat().st_size for file in round_.mlruns.rglob("*") if file.is_file()) // 1024
        size = used + rng.randrange(200, 3000)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True)
        shutil.move(round_.mlruns, disk / "mlruns")
        round_.mlruns = disk / "mlruns"
        round_.start()
        round_.end()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    round_.start()


def fail_at_the_server(failure: str) -> "Fault":
    """Return the fault that a tracking server fails so for a while (`TrackingServer.failure`)."""

    def fault(round_: Round, rng: random.Random) -> None:
        if round_.server:
            round_.server.failure = failure
            time.sleep(rng.uniform(1, 40))
            round_.server.failure = ""

    fault.__name__ = f"server {failure}"
    return fault


Fault = Callable[[Round, random.Random], None]
FAULTS: list[Fault] = [kill, kill_all, kill_one, suspend, lock, delete, move, twice, interrupt]
if os.geteuid() == 0:
    FAULTS.append(fill)
#: Faults of a round that has a server.
AT_THE_SERVER = [fail_at_the_server(failure) for failure in ("down", "slow", "deaf")]


def disturb(round_: Round, rng: random.Random, usual: float) -> list[str]:
    """Start the command and inject faults; return their names. usual: how long it takes undisturbed, in seconds."""
    drawn = []
    round_.start()
    for _ in range(rng.randint(1, 3)):
        deadline = time.monotonic() + rng.uniform(0.1, 0.9) * usual
        while time.monotonic() < deadline and round_.is_going_on():
            time.sleep(0.1)
        can_be = [each for each in FAULTS if not (each is delete and round_.words[0] == "search")]
        # As often as all others together.
        fault = rng.choice(AT_THE_SERVER if round_.server and rng.random() < 0.5 else can_be)
        fault(round_, rng)
        drawn.append(fault.__name__)
    round_.end()
    return drawn


def weights(mlruns: Path) -> dict[str, str]:
    """Return the checksum of the weights of every run that has a result, by run key."""
    return {
        file.parent.name: json.loads(file.read_text())["weights_sha256"] for file in mlruns.glob("runs/*/result.json")
    }


def mend(round_: Round) -> list[str]:
    """Give the command again, undisturbed, until it ends well; return what is wrong if it does not."""
    for _ in range(TRIES):
        round_.start()
        if round_.end() == [0]:
            # Workers whose command was killed end after the run that they are at.
            psutil.wait_procs(round_.tree(), timeout=PATIENCE)
            return []
    return [f"the command did not end well in {TRIES} tries: {(round_.folder / 'log.txt').read_text()[-300:]}"]


def losses(round_: Round, undisturbed: dict[str, str]) -> list[str]:
    """Return what was lost in a round that has ended, as sentences."""
    found = weights(round_.mlruns)
    wrong = [f"run {key} has other weights" for key, sha in found.items() if undisturbed.get(key, sha) != sha]
    if round_.words[0] == "run":
        wrong += [f"run {key} has no result" for key in undisturbed.keys() - found.keys()]
    else:
        trials = json.loads((round_.folder / "out.json").read_text())["trials"]
        if len(trials) != 3 or any(trial["ended"] not in ("complete", "pruned", "diverged") for trial in trials):
            wrong.append(f"the search has not three trials that ended: {trials}")
    with contextlib.closing(sqlite3.connect(round_.database)) as database:
        recorded = database.execute(
            "SELECT t.value, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'run_key' "
            "WHERE r.lifecycle_stage = 'active'"
        ).fetchall()
        running = database.execute("SELECT name FROM runs WHERE status = 'RUNNING'").fetchall()
    wrong += [f"MLflow has {name} RUNNING" for (name,) in running]
    times = Counter(key for key, _ in recorded)
    wrong += [f"MLflow has run {key} {times[key]} times" for key in found if times[key] != 1]
    # A trial that was pruned is shown as killed.
    right = {"FINISHED"} if round_.words[0] == "run" else {"FINISHED", "KILLED"}
    wrong += [f"MLflow has run {key} as {status}" for key, status in recorded if key in found and status not in right]
    logs = [round_.folder / "log.txt", *round_.mlruns.glob("workers/*.log")]
    wrong += [f"a traceback in {log}" for log in logs if "Traceback (most" in log.read_text(errors="replace")]
    if "baseline" in round_.words:
        picture = round_.folder / "red.png"
        Image.new("RGB", (32, 32), "red").save(picture)
        words = [sys.executable, "-m", "harness", "predict", str(picture)]
        predicted = subprocess.run(words, env=round_.environment(), capture_output=True, text=True, timeout=PATIENCE)
        if predicted.returncode:
            wrong.append(f"the model does not load: {predicted.stderr[-300:]}")
    return wrong


def clean(round_: Round) -> None:
    """Remove the folder of a round, and the disk and the server that it may have."""
    if round_.server:
        round_.server.close()
    if (round_.folder / "disk").exists():
        subprocess.run(["umount", "-l", str(round_.folder / "disk")], check=False)
    shutil.rmtree(round_.folder)


def soak(minutes: float, seed: int) -> int:
    """Inject faults for some minutes, print a line a round and the sum of all; return the number of lost rounds."""
    rng, folder = random.Random(seed), Path(tempfile.mkdtemp(prefix="harness-soak-"))
    undisturbed, usual = {}, {}
    for name, words in COMMANDS.items():
        begin = time.monotonic()
        reference = Round(folder / f"undisturbed-{name.replace(' ', '-')}", words)
        if wrong := mend(reference):
            raise SystemExit(f"{name}: {wrong[0]}")
        usual[name], undisturbed[name] = time.monotonic() - begin, weights(reference.mlruns)
        print(f"undisturbed: {name}, {usual[name]:.0f} s, {len(undisturbed[name])} runs", flush=True)
    kinds, lost, rounds, deadline = Counter[str](), 0, 0, time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        rounds += 1
        name = rng.choice(list(COMMANDS))
        served = rng.random() < SERVED
        round_ = Round(folder / f"round-{rounds}", COMMANDS[name], served=served)
        drawn = disturb(round_, rng, usual[name])
        kinds.update(drawn)
        wrong = mend(round_) or losses(round_, undisturbed[name])
        lost += bool(wrong)
        print(
            f"{rounds:>4} {name}{', served' * served}: {', '.join(drawn)}: {'; '.join(wrong) or 'nothing lost'}",
            flush=True,
        )
        if not wrong:
            clean(round_)
        elif round_.server:
            round_.server.close()
    said = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    print(f"{rounds} rounds, {kinds.total()} faults ({said}), {lost} rounds with a loss; seed {seed}")
    if lost:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return lost


if __name__ == "__main__":
    sys.exit(soak(float(os.environ.get("MINUTES") or 60), int(os.environ.get("SEED") or time.time())) > 0)
