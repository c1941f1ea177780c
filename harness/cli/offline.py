"""`harness plan` and `sync`: what is trained where there is no MLflow."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Data, Engine, Json, Precision, Setting, app, name_and_value, show
from harness.reporting.console import log


@app.command()
def plan(
    experiments: Annotated[list[str], typer.Argument(help="Files of experiments/, without the .py.")],
    out: Annotated[Path, typer.Option(help="Where to write the list.")] = Path("specs.json"),
    budget: Annotated[str, typer.Option(help="`smoke`, `quick` or `full`.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="As in `harness run`.")] = None,
    recipe: Annotated[str, typer.Option(help="`fast` or `published`.")] = "fast",
    split: Annotated[str, typer.Option(help="`final` or `tune`.")] = "final",
    setting: Setting = None,
    data: Data = None,
    engine: Engine = "tensorflow",
    precision: Precision = "auto",
    retune: Annotated[bool | None, typer.Option(help="As in `harness run`.")] = None,
) -> None:
    """Write the runs of experiments that are not done to a file, for a machine without MLflow to train.

    `auto` takes the precision that is fast here: for a GPU elsewhere, name it. The runs at retuned learning rates are
    known when the tuning is done: sync its bundles, and plan again.

    ```
    harness plan ablate_bn ablate_order --budget quick --out specs.json
    harness plan baseline --seeds 10 --engine jax --precision bfloat16
    harness run --specs specs.json --offline bundles          # there
    harness sync bundles                                      # here
    ```
    """
    from harness.commands import spec_list as spec_list
    from harness.commands.run import Job, Request
    from harness.tracking.recorder import MlflowRecorder

    changes = dict(name_and_value(text) for text in setting or [])
    request = Request(
        experiments, budget, recipe, seeds, split, (), data, engine, precision, changes, retune
    )  # fmt: skip
    count = spec_list.write(out, Job(request, MlflowRecorder()).planned())
    then = (
        f"Train them with harness run --specs {out} --offline DIR" if count else "All that is asked for is done here."
    )
    log.print(f"{out}: {count} specs. {then}", soft_wrap=True)


@app.command()
def sync(
    directory: Annotated[Path, typer.Argument(help="What `harness run --offline` has written.")],
    json: Json = False,
) -> None:
    """Import the bundles of another machine: into MLflow with their times, and as runs that are done; searches too.

    Those that are here already change nothing; one that is damaged, or of other code or data, is refused by name.

    ```
    harness sync bundles
    harness sync bundles --json | jq '.bundles[] | select(.status == "refused")'
    ```
    """
    from harness.commands.sync import print_sync
    from harness.commands.sync import sync as import_bundles

    document = import_bundles(directory)
    show(document, json, print_sync)
    if any(row["status"] == "refused" for row in [*document["bundles"], *document["searches"]]):
        raise typer.Exit(1)
