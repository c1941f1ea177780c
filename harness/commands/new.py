"""`harness new`: the skeleton of an experiment's file."""

from pathlib import Path

import experiments
from harness.common.errors import BadInput

SKELETON = '''"""{question}?

The notebook: "..."

Prediction, written before the run: ... by at least ... points, because ...

    harness run {name} --budget quick --seeds 10
"""

from harness.experiment import Experiment, Prediction

experiment = Experiment(
    # Settings are the fields of Network and Recipe in harness/config.py; the baseline is there by itself.
    variants={{"no norm": {{"normalization": "none"}}}},
    predictions=(Prediction("no norm", "worse", by=0.05),),
    # What would show the claimed cause at work: harness/metrics.py has the measures.
    mechanism=("gradient_ratio",),
)
'''


def write(name: str) -> Path:
    """Write experiments/<name>.py and return its path. Raises BadInput when the name will not do or is taken."""
    file = Path(experiments.__path__[0]) / f"{name}.py"
    if not name.isidentifier():
        raise BadInput(f"{name} is no Python name: letters, digits and underscores will do, as in ablate_pooling.")
    if name.startswith("search"):
        raise BadInput(f"{name} would name a search, not an experiment; copy experiments/search.py for one.")
    if file.exists():
        raise BadInput(f"{file} is there already; choose another name, or edit it.")
    question = f"What does {name.removeprefix('ablate_').replace('_', ' ')} do"
    file.write_text(SKELETON.format(question=question, name=name))
    return file
