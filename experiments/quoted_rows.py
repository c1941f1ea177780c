"""The rows of the tables in README and docs: what each is called, and which experiment, study and variant it is of."""

from harness.experiment import BASELINE

#: What the notebook claims, in our words, by the name of its table in docs/answers.md.
CLAIMS = {
    "scaling": "Inputs must be scaled",
    "linear": "Activations must be non-linear",
    "activation": "ReLU is better than sigmoid, because its gradient survives",
    "norm": "Batch norm helps, as it cures covariate shift",
}

#: What was measured of each claim; a name in braces is a row of ANSWERS or CROSSED.
MEASURED = {
    "scaling": "With batch norm and Muon pixels 0–255 change less than half a point: {pixels 0–255}. Without batch "
    "norm: {pixels 0–255, no batch norm}.",
    "linear": "Something must be: a linear network gives {no activation, average pooling}. Three max-poolings alone "
    "make that {no activation}.",
    "activation": "With batch norm ReLU is better: {ReLU instead of sigmoid, batch norm}. Without, it is worse\\*: "
    "{ReLU instead of sigmoid, no normalization}; but with plain SGD sigmoid is then {sigmoid, plain SGD}, its "
    "gradient at the first convolution {vanished} of that at the last.",
    "norm": "With ReLU it gives {batch norm instead of none, ReLU}, with sigmoid\\* "
    "{batch norm instead of none, sigmoid}, but with plain SGD sigmoid is stuck without it. Group norm (8 groups) in "
    "its place: {group norm}. Covariate shift: open.",
}

#: The rows that speak to a claim: what a row is called, and the experiment and the variant it is from.
ANSWERS = {
    "scaling": (
        ("pixels 0–255", "ablate_scaling", "raw 0-255"),
        ("pixels 0–1", "ablate_scaling", "unit 0-1"),
        ("pixels 0–255, no batch norm", "factorial", "no scaling + no norm"),
        ("pixels 0–255, no batch norm, sigmoid", "factorial", "no scaling + no norm + no relu"),
    ),
    "linear": (
        ("no activation", "ablate_linear", "linear"),
        ("no activation, average pooling", "ablate_linear", "linear, average pooling"),
        ("ReLU, average pooling", "ablate_linear", "average pooling"),
    ),
    "activation": (
        ("sigmoid", "ablate_activation", "sigmoid"),
        ("tanh", "ablate_activation", "tanh"),
        ("GELU", "ablate_activation", "gelu"),
        ("SiLU", "ablate_activation", "silu"),
        ("sigmoid, no batch norm", "factorial", "no norm + no relu"),
    ),
    "norm": (
        ("no batch norm", "ablate_bn", "no norm"),
        ("layer norm", "ablate_bn", "layer norm"),
        ("group norm", "ablate_bn", "group norm"),
        ("batch norm behind the activation", "ablate_order", "norm after"),
    ),
}


#: The factorial experiment, one factor at a time where the others stand as they are said: what is switched, where, and
#: the two variants.
CROSSED = {
    "batch norm instead of none": (
        ("ReLU", BASELINE, "no norm"),
        ("sigmoid", "no relu", "no norm + no relu"),
    ),
    "ReLU instead of sigmoid": (
        ("batch norm", BASELINE, "no relu"),
        ("no normalization", "no norm", "no norm + no relu"),
    ),
    "pixels 0–255 instead of standardised": (
        ("batch norm, ReLU", "no scaling", BASELINE),
        ("batch norm, sigmoid", "no scaling + no relu", "no relu"),
        ("no normalization, ReLU", "no scaling + no norm", "no norm"),
        ("no normalization, sigmoid", "no scaling + no norm + no relu", "no norm + no relu"),
    ),
}


#: The cells of the factorial experiment, by what they are.
CELLS = {
    "ReLU, batch norm": BASELINE,
    "ReLU, no normalization": "no norm",
    "sigmoid, batch norm": "no relu",
    "sigmoid, no normalization": "no norm + no relu",
}
RAW_CELLS = {
    "pixels 0–255, ReLU, batch norm": "no scaling",
    "pixels 0–255, ReLU, no normalization": "no scaling + no norm",
    "pixels 0–255, sigmoid, batch norm": "no scaling + no relu",
    "pixels 0–255, sigmoid, no normalization": "no scaling + no norm + no relu",
}

_TANH = {"tanh, batch norm": "tanh"}
_LINEAR = {
    "no activation, batch norm": "linear",
    "ReLU, batch norm, average pooling": "average pooling",
    "no activation, batch norm, average pooling": "linear, average pooling",
}

#: Tables of every seed, by study: what a row is called, and the variant.
WITH_PLAIN_SGD = {
    "full-classic-factorial": CELLS | RAW_CELLS,
    "full-classic-tanh": _TANH,
    "full-classic-linear": _LINEAR,
}
PLAIN_SGD_AT_QUICK = {"classic-factorial": CELLS | RAW_CELLS, "classic-tanh": _TANH, "classic-linear": _LINEAR}
MUON_AT_QUICK = {
    "fast-factorial": CELLS | RAW_CELLS,
    "fast-activation": _TANH | {"GELU, batch norm": "gelu", "SiLU, batch norm": "silu"},
    "fast-linear": _LINEAR,
}
DROPOUT_AT_QUICK = {
    "fast-dropout": {
        "none": BASELINE,
        **{f"{rate}{ramped}": f"{rate}{ramped}" for rate in (0.1, 0.25, 0.5, 0.75) for ramped in ("", " ramped")},
        "0.5 behind the blocks alone": "0.5 in blocks",
        "0.5 behind the dense layer alone": "0.5 in dense",
    }
}

#: Rows of a table: what each is called, the study, and the variant.
Rows = tuple[tuple[str, str, str], ...]

#: Networks by how they are normalized.
NORMALIZED: Rows = (
    ("Muon, ReLU, batch norm", "again-ablate_bn", BASELINE),
    ("Muon, ReLU, group norm", "again-ablate_bn", "group norm"),
    ("Muon, ReLU, layer norm", "again-ablate_bn", "layer norm"),
    ("Muon, ReLU, none", "again-ablate_bn", "no norm"),
    ("Muon, sigmoid, batch norm", "again-factorial", "no relu"),
    ("Muon, sigmoid, none", "again-factorial", "no norm + no relu"),
    ("SGD, ReLU, batch norm", "full-classic-factorial", BASELINE),
    ("SGD, ReLU, none", "full-classic-factorial", "no norm"),
    ("SGD, sigmoid, batch norm", "full-classic-factorial", "no relu"),
    ("SGD, sigmoid, none (stuck)", "full-classic-factorial", "no norm + no relu"),
)
NORMALIZED_AT_QUICK: Rows = (
    ("Muon, ReLU, batch norm", "fast-bn", BASELINE),
    ("Muon, ReLU, group norm", "fast-bn", "group norm"),
    ("Muon, ReLU, layer norm", "fast-bn", "layer norm"),
    ("Muon, ReLU, none", "fast-bn", "no norm"),
    ("Muon, sigmoid, batch norm", "fast-factorial", "no relu"),
    ("Muon, sigmoid, none", "fast-factorial", "no norm + no relu"),
)
