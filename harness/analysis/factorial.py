"""What each of several yes-or-no choices does, alone and together with the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

import numpy as np

from harness.analysis.design import Design
from harness.analysis.stats import OneSample, holm, one_sample


@dataclass(frozen=True)
class Effect(OneSample):
    """An effect on the accuracy (a share: 0.01 is one point); `p_holm` is adjusted over all effects of the design."""

    p_holm: float | None


def effects(
    cells: Mapping[tuple[bool, ...], Sequence[float]], factors: Sequence[str], design: Design
) -> dict[str, Effect]:
    """All main effects and interactions of a full 2**k design, in order of how many factors take part.

    A cell is named by which factors are on, in the order of `factors`, and holds one value per seed: the same seeds
    in the same order in every cell. A main effect is the mean of the cells with the factor on minus that of the cells
    with it off. An interaction "a x b" is half the difference between the effect of a with b on and that with b off;
    each further factor again takes half the difference. Raises ValueError where a cell or a seed of one is missing.
    """
    levels = list(product((False, True), repeat=len(factors)))
    seeds = {len(values) for values in cells.values()}
    if set(cells) != set(levels) or len(seeds) != 1:
        raise ValueError(f"Needs all {len(levels)} cells with the same seeds in each; got {len(cells)} with {seeds}.")
    signs = np.where(levels, 1, -1)  # [cell, factor]
    values = np.array([cells[level] for level in levels])  # [cell, seed]
    subsets = list(chain.from_iterable(combinations(range(len(factors)), size + 1) for size in range(len(factors))))
    # Each contrast is the mean of one half of the cells minus that of the other: the cells where an even number of
    # its factors is off, and those where an odd number is.
    found = {
        " x ".join(factors[i] for i in subset): one_sample(
            signs[:, subset].prod(axis=1) @ values / (len(levels) / 2), design
        )
        for subset in subsets
    }
    p_holm = holm({name: effect.p for name, effect in found.items()})
    return {name: Effect(**vars(effect), p_holm=p_holm[name]) for name, effect in found.items()}
