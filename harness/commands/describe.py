"""`harness data` and `harness show`: describe the data set and the network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from harness import recipes
from harness.common.errors import BadInput
from harness.common.files import replacing
from harness.common.lazy import lazy_import
from harness.common.paths import mlruns
from harness.config import change, changes_text
from harness.data import how_to_get_cifar10, load
from harness.engine.backend import default_engine, import_keras
from harness.reporting.console import log, out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.engine import network as cnn
    from harness.reporting import run_figures
else:
    cnn = lazy_import("harness.engine.network")
    run_figures = lazy_import("harness.reporting.run_figures")


def describe_data(which: str | None, picture: Path | None) -> "tuple[dict[str, Any], Figure]":
    """Return a document about the data set on this machine, and a figure with ten samples of each class.

    picture: the file for the figure; None is mlruns/data-<name>.png.
    """
    dataset = load(which)
    picture = picture or mlruns() / f"data-{dataset.name}.png"
    classes = range(len(dataset.class_names))
    document = {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "source": dataset.source,
        "layout": dataset.layout,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "train_per_class": _counts(dataset.train_labels, dataset.class_names, classes),
        "test_per_class": _counts(dataset.test_labels, dataset.class_names, classes),
        "picture": str(picture),
    }
    return document, run_figures.sample_figure(dataset)


def save_picture(document: dict[str, Any], figure: "Figure") -> None:
    """Save a figure where its document says. Raises BadInput if it cannot be written there."""
    picture = Path(document["picture"])
    try:
        with replacing(picture) as file:
            figure.savefig(file, format=picture.suffix[1:] or "png", dpi=120)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"The picture {picture} cannot be written: {why}. Choose another with --picture.") from error


def _counts(labels: np.ndarray, names: tuple[str, ...], classes: range) -> dict[str, int]:
    return dict(zip(names, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def print_data(document: dict[str, Any]) -> None:
    """Print the document of `describe_data` as a table."""
    table = Table("class", "train", "test", title=f"{document['name']} · {document['layout']}", title_justify="left")
    for name, count in document["train_per_class"].items():
        table.add_row(name, f"{count:,}", f"{document['test_per_class'][name]:,}")
    table.add_section()
    table.add_row("all", f"{document['train_images']:,}", f"{document['test_images']:,}")
    out.print(table)
    for label, value in (("found in", "source"), ("fingerprint", "fingerprint"), ("picture", "picture")):
        out.print(f"  {label:<12}{document[value]}", highlight=False)
    if document["name"] == "digits":
        log.print(how_to_get_cifar10())


def describe_network(recipe: str, changes: dict[str, Any], picture: Path | None) -> "tuple[dict[str, Any], Figure]":
    """Return a document about the network's layers (shapes, parameters, FLOPs), and a figure of the network.

    changes: those of `--set`. picture: the file for the figure; None is mlruns/network.png.
    """
    network, resolved = change(*recipes.recipe_called(recipe), changes)
    import_keras(default_engine())
    model = cnn.build(network, resolved)
    flops = cnn.forward_flops(model)
    layers = [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "rate": getattr(layer, "rate", None),
            "shape": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
            "flops": flops.get(layer.name, 0),
        }
        for layer in model.layers
    ]
    picture = picture or mlruns() / "network.png"
    document = {
        "recipe": recipe,
        "changes": changes_text(changes),
        "layers": layers,
        "parameters": model.count_params(),
        "trainable_parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "forward_flops_per_image": sum(flops.values()),
        "training_flops_per_image": cnn.training_flops(model),
        "picture": str(picture),
    }
    return document, run_figures.network_figure(layers)


def print_network(document: dict[str, Any]) -> None:
    """Print the document of `describe_network` as a table."""
    about = " · ".join(filter(None, ("the 18-layer network", f"recipe {document['recipe']}", document["changes"])))
    table = Table(title=Text(about), title_justify="left")
    table.add_column("layer")
    table.add_column("kind")
    for column in ("output", "parameters", "MFLOP forward"):
        table.add_column(column, justify="right")
    for layer in document["layers"]:
        rate = "" if layer["rate"] is None else f" {layer['rate']:g}"
        shape = "×".join(map(str, layer["shape"]))
        cost = f"{layer['flops'] / 1e6:.2f}" if layer["flops"] else ""
        table.add_row(
            layer["name"],
            layer["kind"] + rate,
            shape,
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            cost,
        )
    out.print(table)
    out.print(
        f"  {document['parameters']:,} parameters, {document['trainable_parameters']:,} of them trainable; "
        f"{document['forward_flops_per_image'] / 1e6:.1f} MFLOP forward, "
        f"{document['training_flops_per_image'] / 1e6:.1f} MFLOP per training image (multiply-add = 2)",
        highlight=False,
    )
    out.print(f"  picture {document['picture']}", highlight=False)
