"""`harness predict`: classify image files with a trained run."""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from harness import tracking
from harness.common.documents import read_bytes
from harness.common.errors import BadInput, first_line
from harness.common.lazy import lazy_import
from harness.engine.backend import default_engine, import_keras
from harness.reporting.console import out
from harness.runs.folder import RunFolder, key_called
from harness.runs.records import Result
from harness.tracking.champion import champion, ended_runs, ranked
from harness.tracking.model import find_model

if TYPE_CHECKING:
    import PIL
    from PIL import Image, ImageOps
else:
    PIL = lazy_import("PIL")
    Image = lazy_import("PIL.Image")
    ImageOps = lazy_import("PIL.ImageOps")


#: Bytes. A photo has a few MB.
LARGEST_PICTURE = 256 * 1024**2


def predict(images: list[Path], run: str | None) -> dict[str, Any]:
    """Return the three most probable classes of each image.

    run: a run key or its beginning; None is the champion. Raises BadInput for a file that is no image, or if there is
    no such model.
    """
    pixels = np.stack([read_image(path) for path in images])
    folder, result, model = load_model(run)
    probabilities = np.asarray(model(pixels))
    names = list(result.error_per_class)
    return {
        "run_key": folder.config.key,
        "data": folder.config.data,
        "accuracy": result.metrics["accuracy"],
        "images": [
            {
                "file": str(path),
                "top": [{"class": names[i], "probability": float(row[i])} for i in row.argsort()[::-1][:3]],
            }
            for path, row in zip(images, probabilities, strict=True)
        ],
    }


def load_model(run: str | None) -> tuple[RunFolder, Result, Any]:
    """Return a finished run and its `keras.Model`. run: as in `predict`; raises BadInput if there is no such model."""
    folder, result, model_id = find_kept(run)
    import_keras(default_engine())
    with tracking.explained():
        return folder, result, _load(tracking.open_mlflow(), folder, model_id)


def find_kept(run: str | None) -> tuple[RunFolder, Result, str]:
    """Return a finished run and the id of its model in MLflow. run and errors: as in `load_model`."""
    candidates = choose_runs(run)
    with tracking.explained():
        client = tracking.open_mlflow().MlflowClient()
        # The models of small runs are not kept, because there are too many of them.
        kept = ((*pair, model) for pair in candidates if (model := find_model(client, tracking.run_id(pair[0]))))
        chosen = next(kept, None)
    if chosen is None:
        raise BadInput(
            f"There is no model of {f'run {run}' if run else 'any run'}: those of `baseline` and of the full "
            f"budget are kept. `make baseline` trains one, or makes it from the checkpoint of a run that has ended."
        )
    return chosen


def _load(mlflow: Any, folder: RunFolder, model_id: str) -> Any:
    """Return a Keras model of MLflow's. Raises BadInput if its file is damaged."""
    try:
        # From a copy: MLflow would read `%25` in the path of the folder itself as `%`.
        with tempfile.TemporaryDirectory() as copy:
            return mlflow.keras.load_model(f"models:/{model_id}", dst_path=copy)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"The model {model_id} of run {folder.config.key} is damaged ({first_line(error)}). Delete it in MLflow "
            f"(`make ui`), and the command of that run makes it again from its checkpoint."
        ) from error


def read_image(path: Path) -> np.ndarray:
    """Read an image file as float32 [32, 32, 3], 0-255. Raises BadInput if it is no image."""

    try:
        # A pipe or a device might never end.
        with Image.open(io.BytesIO(read_bytes(path, LARGEST_PICTURE))) as image:
            # Phones store their orientation in the file and do not rotate the pixels.
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
            return np.asarray(upright.resize((32, 32), Image.Resampling.LANCZOS), np.float32)
    except PIL.UnidentifiedImageError as error:
        raise BadInput(f"{path} is no picture that Pillow can read: give a JPEG, a PNG or the like.") from error
    except Exception as error:  # Pillow's decoders may raise any error for damaged files
        raise BadInput(f"{path} cannot be read as an image ({error}). JPEG, PNG and the like will do.") from error


def _eight_bits(image: Any) -> Any:
    """Return a picture with 8 bits a channel. Pillow itself cuts off what is above 255, so deep pictures become white.

    Raises ValueError for pictures whose white is not known.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("it has more than 16 bits a pixel")
        return Image.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are fractions")
    return image


def choose_runs(run: str | None) -> list[tuple[RunFolder, Result]]:
    """Return the finished run whose key begins with `run`; for None all of them, the registered champion first.

    Raises BadInput if there is no such run.
    """
    finished = ended_runs()
    if not finished:
        raise BadInput("There is no finished run to predict with yet: `make baseline` trains one.")
    if run is None:
        crowned = champion()
        return sorted(ranked(finished), key=lambda pair: not crowned or tracking.run_id(pair[0]) != crowned)
    by_key = {pair[0].config.key: pair for pair in finished}
    return [by_key[key_called(run, by_key)]]


def print_predictions(document: dict[str, Any]) -> None:
    """Print the document of `predict` as a table."""
    table = Table("file", "1st", "2nd", "3rd", title_justify="left")
    table.title = f"run {document['run_key']} · {document['data']} · accuracy {document['accuracy']:.3f}"
    for image in document["images"]:
        table.add_row(image["file"], *(f"{top['class']} {top['probability']:.2f}" for top in image["top"]))
    out.print(table)
