"""`harness data`, `show`, `predict`, `bench`, `ui`, `dashboard`: looking at things."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Data, Engine, Json, Setting, changes_of
from harness.cli.options import show as print_document
from harness.common.lazy import lazy_import

if TYPE_CHECKING:
    from harness.commands import calibrate as calibration
    from harness.commands import describe as inspection
    from harness.commands import predict as prediction
    from harness.commands import serve
    from harness.commands.bench import bench as benchmark
else:
    benchmark = lazy_import("harness.commands.bench.bench")
    calibration = lazy_import("harness.commands.calibrate")
    inspection = lazy_import("harness.commands.describe")
    prediction = lazy_import("harness.commands.predict")
    serve = lazy_import("harness.commands.serve")


Port = Annotated[int, typer.Option(min=1, max=65535, help="On this machine only (127.0.0.1).")]


def data(
    data: Data = None,
    picture: Annotated[Path | None, typer.Option(help="Where to draw ten samples of each class.")] = None,
    json: Json = False,
) -> None:
    """Say which CIFAR-10 was found, where, and what is in it; draw ten samples of each class.

    ```
    harness data
    CIFAR10_DIR=~/datasets/cifar10 harness data
    harness data --picture samples.png
    ```
    """
    document, figure = inspection.describe_data(data, picture)
    print_document(document, json, inspection.print_data)
    inspection.save_picture(document, figure)


def show(
    setting: Setting = None,
    recipe: Annotated[str, typer.Option(help="Whose network and dropout rates to show.")] = "fast",
    picture: Annotated[Path | None, typer.Option(help="Where to draw the network.")] = None,
    json: Json = False,
) -> None:
    """Show the network: layers, shapes, parameters, operations; and draw it.

    ```
    harness show
    harness show --set normalization=none --set activation=sigmoid
    ```
    """
    document, figure = inspection.describe_network(recipe, changes_of(setting), picture)
    print_document(document, json, inspection.print_network)
    inspection.save_picture(document, figure)


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files of any size; each is scaled to 32x32.")],
    run: Annotated[str | None, typer.Option(help="A run key, or the start of one; default: the champion.")] = None,
    json: Json = False,
) -> None:
    """Classify image files with the champion, or with a named run: the three likeliest classes of each.

    ```
    harness predict cat.jpg truck.png
    harness predict cat.jpg --run 3f9a
    ```
    """
    print_document(prediction.predict(images, run), json, prediction.print_predictions)


def bench(
    rounds: Annotated[int, typer.Option(min=5, help="Rounds of each contender, interleaved; medians are shown.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Of all contenders; one more has 128 on JAX.")] = 128,
    images: Annotated[
        int | None, typer.Option(help="Of a round; default: an epoch of 50,000 on a GPU, 2,560 on a CPU.")
    ] = None,
    engine: Engine = "auto",
    json: Json = False,
) -> None:
    """Measure an engine against plain Keras and PyTorch, side by side on this machine. Nothing else should run.

    ```
    harness bench
    harness bench --rounds 9 --json
    harness bench --engine jax --batch-size 512
    ```
    """
    print_document(benchmark.run(rounds, engine, batch_size, images), json, benchmark.print_bench)


def calibrate(
    accuracies: Annotated[
        Path, typer.Argument(help="Baseline runs: a JSON list of accuracies, a report as JSON, or a CSV.")
    ],
    families: Annotated[int, typer.Option(help="How many families, and how many single comparisons.")] = 10_000,
    to: Annotated[
        Path | None, typer.Option(help="Where calibration.md and its figure go; default: mlruns/reports/calibration.")
    ] = None,
    json: Json = False,
) -> None:
    """A/A test of the statistics: compare runs of one recipe with each other, and count the verdicts that are wrong.

    ```
    harness run baseline --budget quick --seeds 100
    harness compare baseline --budget quick --seeds 100 --json > runs.json
    harness calibrate runs.json
    ```
    """
    print_document(calibration.calibrate(accuracies, families, to), json, calibration.print_calibration)


def ui(port: Port = 5000) -> None:
    """Open the MLflow UI over all runs.

    ```
    harness ui
    harness ui --port 5001
    ```
    """
    serve.serve(port)


def dashboard(port: Port = 8080) -> None:
    """Open the Optuna dashboard over all studies.

    ```
    harness dashboard
    harness dashboard --port 8081
    ```
    """
    serve.serve_dashboard(port)
