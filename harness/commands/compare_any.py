"""`harness compare --csv` and `--mlflow`: the statistics of reports for anybody's runs. Imports no framework."""

import codecs
import csv
import dataclasses
import hashlib
import io
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.any_runs import AnyRun, GroupComparison, compare_groups
from harness.analysis.report import plain
from harness.common import paths
from harness.common.documents import read_bytes
from harness.common.errors import BadInput, HarnessError, first_line
from harness.common.files import write_atomically
from harness.common.lazy import lazy_import
from harness.common.redact import is_ambiguous, public_url
from harness.recipes import named
from harness.reporting import any_runs
from harness.reporting.any_runs import Asked
from harness.reporting.console import log
from harness.tracking.answer import Answer, log_answer
from harness.tracking.mlflow_store import import_mlflow, runs_in
from harness.tracking.others_database import has_mlflows_tables

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy_import("pandas")

#: Bytes. A thousand runs with a hundred columns have one MB.
LARGEST_CSV = 64 * 1024**2

#: What MLflow calls a run that ended as it should.
FINISHED = "FINISHED"

#: The tag of a run that holds an answer: the command that asked.
COMPARISON = "harness.comparison"


@dataclass(frozen=True, kw_only=True)
class AnyOptions:
    """The options of `harness compare` for anybody's runs, as given by the user."""

    csv: Path | None
    mlflow: str | None
    experiment: str | None
    group_by: str | None
    baseline: str | None
    metric: str | None
    block: str | None
    lower_is_better: bool
    log: bool = False

    def checked(self) -> "AnyOptions":
        """Return these options. Raises BadInput for one that is missing, or that does not go with another."""
        if self.csv and self.mlflow:
            raise BadInput("--csv and --mlflow are two places: give one of them.")
        if is_ambiguous(self.mlflow or ""):
            raise BadInput(
                f"--mlflow {public_url(self.mlflow or '')} is no URL that can be opened: user and password may not "
                f"hold any of / ? # @ as they are (write %2F, %3F, %23, %40), and a port is a number."
            )
        if self.csv and self.experiment:
            raise BadInput("--experiment goes with --mlflow: a CSV file has no experiments.")
        if self.log and not self.mlflow:
            raise BadInput("--log goes with --mlflow: a CSV file takes no run.")
        needed = {"--group-by": self.group_by, "--baseline": self.baseline, "--metric": self.metric}
        if self.mlflow:
            needed["--experiment"] = self.experiment
        if missing := [option for option, given in needed.items() if not given]:
            raise BadInput(f"{missing[0]} is missing: --csv and --mlflow need {', '.join(needed)}.")
        if self.block == self.group_by:
            raise BadInput(f"--block {self.block} is what --group-by names: a block holds a run of each group.")
        return self

    @property
    def digest(self) -> str:
        """8 hex digits of what is asked, and of which file."""
        asked = dataclasses.replace(self, csv=self.csv and self.csv.resolve(), log=False).command
        return hashlib.sha256(asked.encode(errors="surrogateescape")).hexdigest()[:8]

    @property
    def command(self) -> str:
        given = {
            "csv": self.csv, "mlflow": self.mlflow and public_url(self.mlflow), "experiment": self.experiment,
            "group-by": self.group_by, "baseline": self.baseline, "metric": self.metric, "block": self.block,
        }  # fmt: skip
        words = [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
        flags = {"--lower-is-better": self.lower_is_better, "--log": self.log}
        return shlex.join(["harness", "compare", *words, *(flag for flag, given in flags.items() if given)])


def compare_any(options: AnyOptions, to: Path | None) -> tuple[Asked, GroupComparison, list[Path]]:
    """Compare the groups of some runs; write report.html, table.csv and comparison.json, and return these files too.

    to: their folder; None is one in mlruns/reports. Raises BadInput for a column, a group or a file that is not there.
    """
    runs = _of_csv(options) if options.csv else _of_mlflow(options)
    assert options.metric
    assert options.group_by
    assert options.baseline
    source = options.csv.name if options.csv else f"experiment {options.experiment}"
    asked = Asked(
        metric=options.metric, group_by=options.group_by, baseline=options.baseline, block=options.block or "",
        higher_is_better=not options.lower_is_better, source=f"{len(runs)} of {source}", command=options.command,
    )  # fmt: skip
    try:
        compared = compare_groups(
            runs, asked.baseline, paired=bool(options.block), higher_is_better=asked.higher_is_better
        )
    except ValueError as error:
        raise BadInput(f"--baseline {asked.baseline}: {error}") from error
    name = re.sub(r"[^\w.=-]+", "_", f"{source}-{asked.group_by}-{asked.metric}-{options.digest}")
    folder = to or paths.mlruns() / "reports" / name
    if to is None and paths.is_read_only():
        if options.log:
            raise BadInput(f"{paths.mlruns()} is read-only: name another folder for what --log logs with --to.")
        log.print(f"{paths.mlruns()} is read-only: the answer is kept nowhere. Name another folder for it with --to.")
        return asked, compared, []
    document = {"asked": dataclasses.asdict(asked), **dataclasses.asdict(compared)}
    written = {
        "report.html": any_runs.page(asked, compared),
        "table.csv": pd.DataFrame([dataclasses.asdict(row) for row in compared.rows]).to_csv(index=False),
        "comparison.json": json.dumps(plain(document), indent=1, allow_nan=False) + "\n",
    }
    try:
        for file, text in written.items():
            write_atomically(folder / file, text.encode())
    except HarnessError:
        # Whoever asked need not ask again.
        log.print(any_runs.answer(asked, compared))
        raise
    if options.log:
        _log(options, asked, compared, [folder / file for file in written])
    return asked, compared, [folder / file for file in written]


def _log(options: AnyOptions, asked: Asked, compared: GroupComparison, files: Sequence[Path]) -> None:
    """Log the answer as a run of the experiment that it is about; the same question again updates that run."""
    answer = Answer(
        name=f"{asked.question} Against {asked.baseline}",
        identity={COMPARISON: asked.command},
        tags={"mlflow.note.content": f"{any_runs.answer(asked, compared)}\n\n    {asked.command}\n"},
        metrics={
            # MLflow takes few signs in a name.
            re.sub(r"[^\w./ -]", "_", f"difference/{row.group}"): row.difference
            for row in compared.rows
            if row.difference is not None
        },
        folder=files[0].parent,
        files=files,
    )
    client = import_mlflow().MlflowClient(options.mlflow)
    try:
        experiment = client.get_experiment_by_name(options.experiment).experiment_id
        earlier = [run for run in runs_in(client, experiment) if run.data.tags.get(COMPARISON) == asked.command]
        log_answer(client, experiment, answer, earlier)
    except Exception as error:  # whatever its store raises: each kind has errors of its own
        raise HarnessError(
            f"MLflow at {public_url(options.mlflow or '')} did not take the answer "
            f"({first_line(error, options.mlflow or '')}); it is in "
            f"{files[0].parent}."
        ) from error


def _of_csv(options: AnyOptions) -> list[AnyRun]:
    """Return the runs of a CSV file, one a row. A row is named by its line in the file."""
    assert options.csv
    try:
        header, rows = _lines(options.csv)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"--csv {options.csv} cannot be read as CSV with a header ({first_line(error)}).") from error
    used = {"group-by": options.group_by, "metric": options.metric, "block": options.block}
    for option, name in used.items():
        if name:
            named(f"column (--{option})", dict.fromkeys(header), name)
    runs = []
    for line, cells in rows:
        values = dict(zip(header, cells, strict=True))
        if broken := next((name for name in used.values() if name and "\n" in values[name]), None):
            raise BadInput(f"--csv {options.csv}: line {line} has a line break in its {broken}: is a quote not closed?")
        status = values.get("status", "")
        ended = "" if status.lower() in ("", "finished", "completed", "success") else f"its status is {status}"
        runs.append(_run(f"line {line}", values, options, ended))
    return runs


def _lines(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns of a CSV file, and its rows that are not empty, each with its last line's number.

    Raises OSError, ValueError or csv.Error. Nothing is guessed: values in the wrong column would be a wrong result.
    """
    content = read_bytes(file, LARGEST_CSV)
    # Spreadsheets write both.
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    reader = csv.reader(io.StringIO(content.decode(encoding), newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise ValueError("it has no header")
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise ValueError(f"it has two columns called {twice}")
    rows = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            if len(cells) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(cells)} values, and the header {len(header)} names")
            rows.append((reader.line_num, [cell.strip() for cell in cells]))
    return header, rows


def _run(name: str, values: Mapping[str, str], options: AnyOptions, ended: str) -> AnyRun:
    text = values.get(options.metric or "", "")
    try:
        # Python would read 1_000 as a number.
        value = float(text.replace("_", "?")) if text else None
    except ValueError:
        value, ended = None, ended or f"its {options.metric} is no number ({text!r})"
    block = values.get(options.block, "") if options.block else ""
    return AnyRun(name, values.get(options.group_by or "", ""), block, value, ended)


def _of_mlflow(options: AnyOptions) -> list[AnyRun]:
    """Return the runs of an MLflow experiment, the oldest first. A column is a parameter, else a tag."""
    uri = public_url(options.mlflow or "")
    mlflow = import_mlflow()
    try:
        # MLflow would make its tables there.
        if not has_mlflows_tables(options.mlflow or "", "--mlflow "):
            raise BadInput(f"--mlflow {uri}: there is no database of MLflow.")
        client = mlflow.MlflowClient(options.mlflow)
        experiment = client.get_experiment_by_name(options.experiment)
        every = runs_in(client, experiment.experiment_id) if experiment else []
        found = [run for run in every if COMPARISON not in run.data.tags]
        there = [] if experiment else [each.name for each in client.search_experiments()]
    except HarnessError:
        raise
    except Exception as error:  # whatever its store raises: each kind has errors of its own
        raise HarnessError(
            f"MLflow at {uri} did not answer as it should ({first_line(error, options.mlflow or '')})."
        ) from error
    if not found:
        why = "has no runs" if experiment else f"is not there; there are {', '.join(there) or 'none'}"
        raise BadInput(f"--experiment {options.experiment}: it {why}.")
    parameters = {name for run in found for name in (*run.data.params, *run.data.tags)}
    metrics = {name for run in found for name in run.data.metrics}
    named("metric", {name: name for name in sorted(metrics)}, options.metric or "")
    for name in filter(None, (options.group_by, options.block)):
        named("parameter or tag", {each: each for each in sorted(parameters)}, name)
    runs = []
    for run in found:
        values = {**run.data.tags, **run.data.params}
        number = run.data.metrics.get(options.metric)
        # MLflow stores infinity as the largest number that its database takes.
        if number is not None and abs(number) > 1e300:
            number = math.copysign(math.inf, number)
        ended = "" if run.info.status == FINISHED else f"its status is {run.info.status}"
        values[options.metric or ""] = "" if number is None else repr(number)
        runs.append(_run(f"{run.info.run_name} ({run.info.run_id[:8]})", values, options, ended))
    return runs
