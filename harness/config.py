"""What one run is: frozen, canonical, and hashed into its key.

Everything that decides a run's numbers is in `RunConfig`; nothing else is. Same key, same run: a finished
one is never trained again and a killed one goes on where it stopped.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import numbers
import operator
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.common.documents import parse
from harness.common.errors import BadInput

Normalization = Literal["batch", "none", "layer", "group"]
Place = Literal["before", "after"]
Activation = Literal["relu", "sigmoid", "tanh", "linear", "gelu", "silu"]
InputScaling = Literal["raw", "unit", "standardised"]
Pooling = Literal["max", "average"]
Initializer = Literal["he_normal", "he_uniform", "glorot_normal", "glorot_uniform"]
FirstLayer = Literal["random", "whitened"]
Optimizer = Literal["muon", "sgd", "adam", "adamw"]
Schedule = Literal["one-cycle", "constant"]
ShiftMode = Literal["reflect", "wrap", "zero"]
WeightAveraging = Literal["off", "ema", "lookahead"]
SplitName = Literal["final", "tune"]
Precision = Literal["float32", "bfloat16"]


#: Settings that were added when there were runs already. Their defaults give the numbers of before, and are left out of
#: the canonical JSON, so that the older runs keep their keys.
LATER = {
    *("first_layer", "dirac", "sgd_ratio", "muon_iterations", "alternating_flip", "shift_mode"),
    *("weight_averaging", "averaging_decay", "averaging_interval", "final_rate", "decay_power", "threads"),
}


@dataclass(frozen=True)
class Network:
    """What function is trained: the notebook's 18 layers, and the settings of them that the ablations change.

    `normalization_place` is relative to the activation; `input_scaling` maps the pixels 0-255 to themselves
    (`raw`), to 0-1 (`unit`) or to zero mean and unit variance per channel (`standardised`).

    Two settings replace random kernels at the start. With `first_layer=whitened` the filters of the first convolution
    are the principal directions of 3 x 3 patches of the training images, and their negatives. `dirac` is the share of
    the filters that pass their channel on unchanged, in each convolution with as many filters as input channels.
    """

    normalization: Normalization = "batch"
    normalization_place: Place = "before"
    activation: Activation = "relu"
    pooling: Pooling = "max"
    input_scaling: InputScaling = "standardised"
    initializer: Initializer = "he_normal"
    first_layer: FirstLayer = "random"
    dirac: float = 0.0

    def __post_init__(self) -> None:
        _check_limits(self, {"dirac": (0 <= self.dirac <= 1, "0 to 1")})


@dataclass(frozen=True)
class Recipe:
    """How the network is trained: whatever the trained model itself does not need to know.

    `learning_rate` is the peak of the schedule, `warmup` the fraction of all steps spent rising to it.
    `weight_decay` is decoupled (Loshchilov & Hutter 2019: each step takes learning_rate * weight_decay of a
    kernel away; biases and normalization parameters are spared). `dropout` holds the rates of the three
    blocks and of the dense layer; with `dropout_ramp` they rise linearly from 0 over the whole run. `shift`
    is the largest random translation in pixels. `normalization_momentum` is the share that batch norm's
    moving statistics keep at each step.

    `sgd_ratio` and `muon_iterations` are settings of Muon: the learning rate of biases and normalization parameters,
    which plain SGD trains, as a multiple of that of the kernels; and the Newton-Schulz iterations of a step.
    `alternating_flip` draws only the first flip of each image and then flips it in every other epoch (Jordan 2024,
    "94% on CIFAR-10 in 3.29 seconds on a single GPU"). `shift_mode` says what a shift brings in from beyond the edge:
    the image reflected, its opposite edge, or black. `weight_averaging` keeps a moving average of weights and
    moving statistics, updated every `averaging_interval` steps and after an epoch, and evaluates it; `lookahead` also
    goes on from it (Zhang et al. 2019). The share that the average keeps rises to `averaging_decay` with the cube of
    the step (Jordan 2024). `final_rate` is where `one-cycle` ends, as a fraction of the peak; its fall is linear to the
    power of `decay_power`.

    `threads` of the processor compute a step. It is a setting because another number adds up in another order, which
    gives other last bits; on a GPU it changes nothing.
    """

    epochs: int
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    warmup: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.5)
    dropout_ramp: bool = False
    flip: bool = False
    shift: int = 0
    normalization_momentum: float = 0.9
    sgd_ratio: float = 2.0
    muon_iterations: int = 5
    alternating_flip: bool = False
    shift_mode: ShiftMode = "reflect"
    weight_averaging: WeightAveraging = "off"
    averaging_decay: float = 0.75
    averaging_interval: int = 5
    final_rate: float = 0.0
    decay_power: float = 1.0
    threads: int = 2

    @property
    def dropout_note(self) -> str:
        """What to say wherever results stand beside the notebook's, whose dropout is a constant 0.5; else empty."""
        if self.dropout == (0.5,) * 4 and not self.dropout_ramp:
            return ""
        rates = "/".join(f"{rate:g}" for rate in self.dropout)
        return f"dropout {rates}{', ramped' if self.dropout_ramp else ''}, not the notebook's 0.5"

    def __post_init__(self) -> None:
        _check_limits(
            self,
            {
                "epochs": (self.epochs >= 1, "at least 1"),
                "batch_size": (self.batch_size >= 2, "at least 2"),
                "learning_rate": (self.learning_rate > 0, "above 0"),
                "warmup": (0 <= self.warmup < 1, "0 or more, and below 1"),
                "momentum": (0 <= self.momentum < 1, "0 or more, and below 1"),
                "weight_decay": (self.weight_decay >= 0, "0 or more"),
                "label_smoothing": (0 <= self.label_smoothing < 1, "0 or more, and below 1"),
                "dropout": (
                    len(self.dropout) == 4 and all(0 <= rate < 1 for rate in self.dropout),
                    "four rates, each 0 or more and below 1",
                ),
                "shift": (0 <= self.shift <= 16, "0 to 16 pixels"),
                "normalization_momentum": (0 <= self.normalization_momentum < 1, "0 or more, and below 1"),
                "sgd_ratio": (self.sgd_ratio >= 0, "0 or more"),
                "muon_iterations": (1 <= self.muon_iterations <= 20, "1 to 20"),
                "averaging_decay": (0 <= self.averaging_decay < 1, "0 or more, and below 1"),
                "averaging_interval": (self.averaging_interval >= 1, "at least 1"),
                "final_rate": (0 <= self.final_rate <= 1, "0 to 1"),
                "decay_power": (self.decay_power > 0, "above 0"),
                "threads": (1 <= self.threads <= 1024, "1 to 1024"),
            },
        )


def _check_limits(settings: Any, limits: Mapping[str, tuple[bool, str]]) -> None:
    """Raise BadInput for the first setting out of its limits; `limits` says of each whether it is within, and them."""
    for name, (within, said) in limits.items():
        value = getattr(settings, name)
        # Infinity is above every lower limit, and a run cannot be written down with it: JSON knows no such number.
        numbers = value if isinstance(value, tuple) else (value,)
        if not (within and all(abs(number) < math.inf for number in numbers)):
            raise BadInput(f"{name}={value_text(value)} is out of range: it is {said}.")


@dataclass(frozen=True)
class RunConfig:
    """One run. `train_images` and `eval_images` count the images used, out of the split's own."""

    network: Network
    recipe: Recipe
    seed: int
    split: SplitName
    data: str
    data_fingerprint: str
    train_images: int
    eval_images: int
    engine: str
    precision: Precision
    source: str

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal configs give equal text."""
        written = vars(self) | {"network": _written(self.network), "recipe": _written(self.recipe)}
        return json.dumps(written, sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """The run key: 16 hex digits of the sha256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def judged(self) -> str:
        """What the images are called that judge the run, in words and in the names of its metrics."""
        return judged_by(self.split)

    def flat(self) -> dict[str, Any]:
        """Every setting by its own name, for a comparison view: two runs differ in just what differs."""
        values = dataclasses.asdict(self)
        return {**values.pop("network"), **values.pop("recipe"), **values}


def judged_by(split: str) -> str:
    """What the evaluation images of a split are called: those of `tune` are taken from the training images."""
    return "test" if split == "final" else "validation"


def _written(settings: Network | Recipe) -> dict[str, Any]:
    """The settings that canonical JSON holds."""
    values = vars(settings)
    left_out = {f.name for f in dataclasses.fields(settings) if f.name in LATER and values[f.name] == f.default}
    return {name: value for name, value in values.items() if name not in left_out}


def from_json(text: str) -> RunConfig:
    """The inverse of `RunConfig.to_json`. Raises ValueError where it is none, and BadInput for what is out of range."""
    return parse(text, RunConfig)


def change(network: Network, recipe: Recipe, changes: Mapping[str, Any]) -> tuple[Network, Recipe]:
    """The network and recipe with some settings changed, each named as in the dataclasses.

    Values may be Python values or text from the command line. Raises BadInput for an unknown name, with the
    nearest ones, or for an invalid value.
    """
    parsed = parse_changes(changes)
    ours = {name: value for name, value in parsed.items() if name in _fields(Network)}
    theirs = {name: value for name, value in parsed.items() if name in _fields(Recipe)}
    return dataclasses.replace(network, **ours), dataclasses.replace(recipe, **theirs)


def parse_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with values of the settings' own types, in the order of the fields: equal changes are equal here.

    Raises BadInput as `change` does, but for limits, which depend on the whole recipe.
    """
    kinds = _fields(Network) | _fields(Recipe)
    for name in changes:
        if name not in kinds:
            near = difflib.get_close_matches(str(name), kinds, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(kinds)}."
            raise BadInput(f"There is no setting called {name!r}: {hint}")
    return {name: _parse(name, kind, changes[name]) for name, kind in kinds.items() if name in changes}


def changes_text(changes: Mapping[str, Any]) -> str:
    """The one text of some changes, whichever way they were typed: `learning_rate=0.04, dropout=0.1,0.2,0.3,0.4`."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in parse_changes(changes).items())


def read_changes(text: str) -> dict[str, str]:
    """The inverse of `changes_text`, but for the types: each value as text, as `--set` takes it."""
    # A comma begins another change only where a name and `=` follow: older texts have spaces between rates.
    return dict(part.split("=", 1) for part in re.split(r", *(?=[a-z_]+=)", text) if part)


def value_text(value: Any) -> str:
    """A setting's value as `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(value_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


@functools.cache
def _fields(owner: type) -> dict[str, Any]:
    hints = typing.get_type_hints(owner)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def _parse(name: str, kind: Any, value: Any) -> Any:
    """A value of a setting as its type. Raises BadInput that says what the setting takes."""
    choices = typing.get_args(kind)
    try:
        if typing.get_origin(kind) is Literal:
            if isinstance(value, str) and value in choices:
                return value
        elif typing.get_origin(kind) is tuple:
            rates = value.split(",") if isinstance(value, str) else value
            if isinstance(rates, list | tuple) and len(rates) == len(choices):
                return tuple(_number(rate) for rate in rates)
        elif kind is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[value.strip().lower()]
        elif kind is int:
            # `int` would cut 2.7 to 2, and take true for 1.
            if not isinstance(value, bool):
                return int(value) if isinstance(value, str) else operator.index(value)
        else:
            return _number(value)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        pass
    wanted = {float: "a finite number", int: "a whole number", bool: "true or false"}.get(kind)
    if typing.get_origin(kind) is tuple:
        wanted = "four rates, as in 0,0.1,0.2,0.3"
    elif choices:
        wanted = f"one of {', '.join(choices)}"
    raise BadInput(f"Invalid value {name}={value}: {name} is {wanted}.")


def _number(value: Any) -> float:
    """A finite number. Raises ValueError, TypeError or OverflowError for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    # Not -0.0, which equals 0.0 but makes another run key.
    return number + 0.0
