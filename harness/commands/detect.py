"""`harness plan --detect`: the seeds, hours and PFLOP that an effect of some size needs here."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness import plan
from harness.analysis import power
from harness.analysis.make_report import accuracies, grouped
from harness.analysis.stats import STUCK, pooled_sd
from harness.commands.planner import Planner
from harness.common.errors import BadInput
from harness.config import changes_text
from harness.execute.run_one import result_of
from harness.experiment import BASELINE
from harness.reporting.console import duration, print_line, print_rows
from harness.runs import evidence
from harness.runs.spec import RunResult, RunSpec

#: A spread of runs is known from so many degrees of freedom on.
ENOUGH = 3

#: Of the network without changes, per training image; multiply-add = 2.
TRAINING_FLOP = 400.3e6


def detect(job: Planner, points: float) -> dict[str, Any]:
    """Return a document with one row per experiment. points: the size of the effect.

    Raises BadInput for an effect of no size, an experiment without variants, and where no spread is known.
    """
    if not 0 < points <= 100:
        raise BadInput(f"Invalid value --detect {points:g}: give the size of an effect in points, as in --detect 0.5.")
    return {"points": points, "experiments": [_row(job, name, points / 100) for name in job.experiments]}


def _row(job: Planner, name: str, effect: float) -> dict[str, Any]:
    each, design = job.experiments[name], job.designs[name]
    if not each.variants:
        raise BadInput(f"{name} compares nothing, so --detect has no answer for it; name an ablation.")
    every = plan.run_specs(name, each, job.dataset, job.settings, list(design.seeds))
    done = [outcome for spec in every if (outcome := result_of(spec))]
    sd, origin = _spread(done, job.settings, job.dataset.name)
    # What seeds find does not depend on whether these would be exploratory here.
    found = power.detect(effect, sd, len(each.variants), replace(design, exploratory=False))
    needed = power.seeds_for(effect, sd, len(each.variants))
    arms = len(each.all_variants)
    return {
        "experiment": name,
        "variants": len(each.variants),
        "sd": sd,
        "sd_of": origin,
        "looks": list(design.looks),
        "power": found.different,
        "seeds_on_average": found.seeds,
        **{f"declared_{cost}": value for cost, value in _cost(every, done, found.seeds * arms).items()},
        "seeds_needed": needed,
        **{f"needed_{cost}": value for cost, value in _cost(every, done, (needed or math.nan) * arms).items()},
    }


def _spread(done: Sequence[RunResult], settings: plan.Settings, data: str) -> tuple[float, str]:
    """Return the sd of a run between seeds, and of which runs it is: those here, or else in the evidence."""
    variants = [[a for a in accuracies(runs).values() if a >= STUCK] for runs in grouped(done).values()]
    sd, freedom = pooled_sd(variants)
    if freedom >= ENOUGH:
        return sd, f"{sum(map(len, variants))} runs here"
    committed, engine = _in_evidence(settings, data)
    if len(committed) > ENOUGH:
        return pooled_sd([committed])[0], f"{len(committed)} baseline runs in the evidence, {engine}"
    raise BadInput(
        f"How much runs of {settings.recipe} at {settings.budget} differ between seeds is not known here yet: "
        f"`harness run baseline --budget {settings.budget} --recipe {settings.recipe} --seeds 4` measures it."
    )


def _in_evidence(settings: plan.Settings, data: str) -> tuple[list[float], str]:
    """Return the accuracies of the committed runs of a baseline, and their engine and precision.

    They are of one code and one kind of device: with the engine and precision of the settings, if there are enough of
    them, and those with most runs.
    """
    asked = (BASELINE, "same recipe", settings.recipe, settings.budget, changes_text(settings.changes))
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for run in evidence.read():
        spec, config = run.spec, run.config
        is_asked_for = asked == (spec.variant, spec.phase, spec.recipe, spec.budget, spec.changes)
        accuracy = run.result.metrics.get("accuracy", 0.0)
        if is_asked_for and (config.split, config.data) == (settings.split, data) and accuracy >= STUCK:
            of = config.engine, config.precision, config.source, run.tags["device"]
            found.setdefault(of, []).append(accuracy)
    own = settings.engine, settings.precision
    best = max(found, key=lambda of: (of[:2] == own and len(found[of]) > ENOUGH, len(found[of])), default=("",) * 4)
    return found.get(best, []), ", ".join(best[:2])


def _cost(every: Sequence[RunSpec], done: Sequence[RunResult], runs: float) -> dict[str, float | None]:
    """Return the hours, None while no such run has ended here, and the PFLOP of so many runs."""
    if not math.isfinite(runs):
        return {"hours": None, "pflop": None}
    images = runs * sum(spec.cost for spec in every) / len(every)
    speed = plan.usual_speed(list(every))
    counted = [each.history[-1]["pflop"] / each.spec.cost for each in done if each.history]
    per_image = sum(counted) / len(counted) if counted else TRAINING_FLOP / 1e15
    return {"hours": images / speed / 3600 if speed else None, "pflop": images * per_image}


def print_detect(document: dict[str, Any]) -> None:
    """Show the document as a table, and what it takes for granted."""
    rows = []
    for row in document["experiments"]:
        looks = ", ".join(map(str, row["looks"]))
        power_text = f"{row['power']:.0%}"
        seeds = f"{row['seeds_on_average']:.1f} on average (looks: {looks})"
        rows.append([row["experiment"], "declared", power_text, seeds, *_cost_text(row, "declared")])
        needed = f"{row['seeds_needed']} (--seeds {row['seeds_needed']})" if row["seeds_needed"] else "more than 200"
        rows.append([row["experiment"], "fixed", f"≥ {power.POWER:.0%}", needed, *_cost_text(row, "needed")])
    title = f"to find an effect of {document['points']:g} points in every variant"
    print_rows(["experiment", "design", "chance", "seeds", "training", "PFLOP"], rows, title)
    for row in document["experiments"]:
        print_line(
            f"  {row['experiment']}: {row['variants']} variants, sd of a run {100 * row['sd']:.2f} points "
            f"({row['sd_of']}), pairs taken as uncorrelated; family-wise error 5 %"
        )


def _cost_text(row: dict[str, Any], design: str) -> list[str]:
    hours, pflop = row[f"{design}_hours"], row[f"{design}_pflop"]
    return [duration(3600 * hours) if hours is not None else "unknown", "–" if pflop is None else f"{pflop:.3g}"]
