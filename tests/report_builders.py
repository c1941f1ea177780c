"""Runs that nobody trained: experiments with made-up results, for what reports are made from."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.analysis.tuning import FACTORS, SEEDS
from harness.config import Network, RunConfig, change
from harness.experiment import Experiment
from harness.recipes import BUDGETS, FAST
from harness.runs.folder import RunFolder
from harness.runs.records import Result
from harness.runs.spec import Phase, RunResult, RunSpec

LAYERS = [*(f"block{b}_conv{c}" for b in (1, 2, 3) for c in (1, 2, 3)), "dense", "output"]


class Lab:
    """Makes runs: `level` is the accuracy each variant ends at, `diverged` the (variant, seed) that do not."""

    def __init__(
        self,
        experiment: Experiment,
        level: Mapping[str, float],
        *,
        data: str = "cifar10-jpeg75",
        budget: str = "quick",
        diverged: Sequence[tuple[str, int]] = (),
        probes: bool = True,
    ) -> None:
        self.experiment, self.level, self.data, self.budget = experiment, level, data, budget
        self.diverged, self.probes = diverged, probes

    def under_one_recipe(self, seeds: int) -> list[RunResult]:
        return [self.run(v, s, "same recipe") for v in self.experiment.all_variants for s in range(seeds)]

    def tuned(self, best: Mapping[str, float]) -> list[RunResult]:
        """The grid of every variant, best at its factor (1.0 where none is given)."""
        return [
            self.run(v, seed, "tuning", factor, -0.1 * abs(math.log(factor / best.get(v, 1.0))))
            for v in self.experiment.all_variants
            for factor in (*FACTORS, 4.0)
            for seed in SEEDS
        ]

    def retuned(self, seeds: int, best: Mapping[str, float]) -> list[RunResult]:
        return [
            self.run(v, s, "retuned", best.get(v, 1.0), 0.02 if v in best else 0.0)
            for v in self.experiment.all_variants
            for s in range(seeds)
        ]

    def run(self, variant: str, seed: int, phase: Phase, factor: float = 1.0, plus: float = 0.0) -> RunResult:
        budget = BUDGETS[self.budget]
        images, judged = budget.train_images or 50_000, budget.eval_images or 10_000
        network, recipe = change(Network(), budget.shrink(FAST, images), self.experiment.all_variants[variant])
        recipe = dataclasses.replace(recipe, learning_rate=recipe.learning_rate * factor)
        split = "tune" if phase == "tuning" else "final"
        config = RunConfig(
            network=network, recipe=recipe, seed=seed, split=split, data=self.data, data_fingerprint="0" * 64,
            train_images=images, eval_images=judged, engine="tensorflow", precision="float32", source="test",
        )  # fmt: skip
        spec = RunSpec("ablate_test", variant, self.budget, "fast", phase, config, factor=factor)
        rng = np.random.default_rng([seed, len(variant), round(1000 * factor)])
        # What a seed shares between variants is why they are compared seed by seed.
        end = self.level.get(variant, 0.7) + plus + 0.004 * np.random.default_rng(seed).normal() + 0.003 * rng.normal()
        diverges = (variant, seed) in self.diverged and phase != "tuning"
        judged_as = "validation" if split == "tune" else "test"
        history = [
            self.row(epoch, end, recipe.epochs, judged_as, rng)
            for epoch in range(1, 2 if diverges else recipe.epochs + 1)
        ]
        if diverges:
            history[-1] |= {name: math.nan for name in history[-1] if "/" in name}
            result = Result("diverged", f"the loss was nan in epoch 2 of {recipe.epochs}", {}, "", {}, [])
        else:
            metrics = {"accuracy": float(end), "cross_entropy": 2.3 * (1 - float(end)), "training_seconds": 60.0}
            result = Result("finished", "", metrics, "ab" * 32, {}, [])
        return RunResult(spec, RunFolder(config), result, history)

    def row(self, epoch: int, end: float, epochs: int, judged: str, rng: np.random.Generator) -> dict[str, float]:
        accuracy = float(np.clip(0.1 + (end - 0.1) * (1 - 0.15 ** (epoch / epochs)) / 0.85 + 0.01 * rng.normal(), 0, 1))
        row: dict[str, Any] = {
            "epoch": epoch, "timestamp": 1000 * epoch, f"{judged}_accuracy": accuracy,
            f"{judged}_loss": 2.3 * (1 - accuracy), "pflop": 0.001 * epoch,
        }  # fmt: skip
        if self.probes:
            fading = 3.0 * (0.8 - end)
            norms = {
                layer: 10 ** (fading * (i - len(LAYERS)) / 2 - 0.1 * epoch + 0.1 * rng.normal())
                for i, layer in enumerate(LAYERS)
            }
            row |= {f"gradient_norm/{layer}": norm for layer, norm in norms.items()}
            row |= {f"dead/{layer}": 0.1 * rng.random() for layer in LAYERS}
            row["gradient_ratio"] = norms[LAYERS[0]] / norms["block3_conv3"]
        return row
