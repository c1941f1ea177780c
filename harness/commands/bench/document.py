"""The document of the bench: medians, ratios and shares of the measurements, and the comparison with the targets."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness.config import Precision

#: The usual batch size for such networks. On JAX, Keras `fit` also takes part with this one.
USUAL_BATCH = 128


@dataclass(frozen=True)
class Measurements:
    """The raw measurements of one bench.

    images_per_s: the rounds of each contender. gflop_per_s: the rounds of the matrix products in each precision.
    peak_memory_gb: the peak of each process of this engine. precision: of this engine. copy_gb_per_s: the rounds of
    copies in a GPU's memory, bytes read plus bytes written; empty on a CPU. convolved_per_image: how many numbers the
    convolutions write for an image.
    """

    images_per_s: dict[str, list[float]]
    gflop_per_s: dict[Precision, list[float]]
    first_step_s: list[float]
    peak_memory_gb: dict[str, float]
    precision: Precision
    flops_per_image: int
    engine: str = "tensorflow"
    batch_size: int = USUAL_BATCH
    copy_gb_per_s: list[float] = field(default_factory=list)
    convolved_per_image: int = 0


#: How often a step moves a convolution's output Y, or a tensor of the same size, between the chip and its memory.
#: Forward (5): Y is written, read for batch norm's statistics, and read again; the activation A is written, and read
#: by the next layer. Backward (9): A is read for the gradient of the next layer's weights; A's gradient is written,
#: read together with Y for batch norm's sums, and read together with Y again; Y's gradient is written, read for the
#: gradient of the convolution's weights, and read for that of its inputs.
PASSES = 14


@dataclass(frozen=True)
class Target:
    """A target for one number of the document, `key`. `sense` is `>=`, `>`, `<=` or `<`."""

    key: str
    what: str
    sense: str
    limit: float
    unit: str = ""
    digits: int = 2

    def reached(self, value: float | None) -> bool | None:
        """Whether the number reaches the target; None if it was not measured."""
        if value is None:
            return None
        above, below = value > self.limit, value < self.limit
        return {">=": not below, ">": above, "<=": not above, "<": below}[self.sense]


TARGETS = {
    "tensorflow": (
        Target("ratio_vs_keras_fit_no_autotune", "speed against fit without autotuning", ">=", 2.2, " x"),
        Target("ratio_vs_keras_fit", "speed against plain fit", ">", 2.2, " x"),
        Target("ratio_vs_torch", "speed against PyTorch eager", ">=", 1.1, " x"),
        Target("ratio_vs_torch_compile", "speed against torch.compile", ">=", 1, " x"),
        Target("share_of_peak", "share of the machine's matrix-product rate", ">=", 0.65),
        Target("first_step_s", "from command to first training step", "<=", 12, " s", 1),
        Target("peak_memory_gb", "peak memory", "<", 3, " GB"),
    ),
    # For a GPU.
    "jax": (
        Target("ratio_vs_keras_fit_128", "speed against Keras fit at batch 128", ">=", 5, " x"),
        Target("ratio_vs_torch_compile", "speed against torch.compile", ">=", 1, " x"),
    ),
}


def derive(measured: Measurements) -> dict[str, Any]:
    """Return everything in `bench.json` that is computed from the measurements.

    Rates are medians over the rounds; ratios are ratios of medians.
    """
    rates = {name: median(rounds) for name, rounds in measured.images_per_s.items()}
    peaks = {precision: median(rounds) for precision, rounds in measured.gflop_per_s.items()}
    ours = rates["harness"]
    achieved = ours * measured.flops_per_image / 1e9

    def ratio(name: str) -> float | None:
        return ours / rates[name] if name in rates else None

    copied = median(measured.copy_gb_per_s) if measured.copy_gb_per_s else None
    bytes_per_image = PASSES * measured.convolved_per_image * (2 if measured.precision == "bfloat16" else 4)
    document: dict[str, Any] = {
        "engine": measured.engine,
        "batch_size": measured.batch_size,
        "images_per_s": ours,
        "ratio_vs_keras_fit": ratio("keras_fit"),
        "ratio_vs_keras_fit_128": ratio("keras_fit" if measured.batch_size == USUAL_BATCH else "keras_fit_128"),
        "ratio_vs_keras_fit_no_autotune": ratio("keras_fit_no_autotune"),
        "ratio_vs_torch": ratio("torch"),
        "ratio_vs_torch_compile": ratio("torch_compile"),
        "copy_gb_per_s": copied,
        "gb_per_image": bytes_per_image / 1e9,
        "share_of_memory_rate": ours * bytes_per_image / 1e9 / copied if copied else None,
        "precision": measured.precision,
        "share_of_peak": achieved / peaks[measured.precision],
        "share_of_peak_is_of": f"the {measured.precision} matrix-product rate, the precision this engine computed in",
        "share_of_bfloat16_rate": achieved / peaks["bfloat16"],
        "engine_gflop_per_s": achieved,
        "flops_per_image": measured.flops_per_image,
        "matmul_gflop_per_s": peaks,
        "matmul_rounds": measured.gflop_per_s,
        "first_step_s": median(measured.first_step_s),
        "first_step_rounds": measured.first_step_s,
        "peak_memory_gb": max(measured.peak_memory_gb.values()),
        "peak_memory_of": measured.peak_memory_gb,
        "contenders": {
            name: {"images_per_s": rates[name], "rounds": rounds} for name, rounds in measured.images_per_s.items()
        },
    }
    document["targets"] = [
        vars(target) | {"value": document[target.key], "reached": target.reached(document[target.key])}
        for target in (TARGETS[measured.engine] if measured.engine == "tensorflow" or copied else ())
    ]
    document["notes"] = _notes(measured)
    return document


def _notes(measured: Measurements) -> list[str]:
    notes = [
        "Only this engine augments its images; the others are fed the plain ones, which is a little less work. It and "
        "the Keras fits step with Muon, PyTorch with Nesterov SGD, which is less work too."
    ]
    if "keras_fit_no_autotune" in measured.images_per_s:
        notes.append(
            "Keras fit on arrays trains one short epoch a round: where its autotuner stalls the end of an epoch, the "
            "stall weighs more here than in an epoch of 50,000 images. The ratio without autotuning is free of it."
        )
    # JAX computes in float32 on any CPU.
    if measured.engine == "tensorflow" and measured.precision == "float32":
        notes.append(
            "This processor does not multiply bfloat16 (no avx512_bf16, no amx_bf16): its bfloat16 rate is of emulated "
            "products, and the targets were set on a machine that has them."
        )
    return notes
