"""Makes the report of an experiment from its runs."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import numpy as np

from harness import published
from harness.analysis.design import Design, fixed
from harness.analysis.factorial import effects
from harness.analysis.history import code_that_measured_last, mechanism, reached
from harness.analysis.images import image_rows
from harness.analysis.report import (
    LEVELS,
    EffectRow,
    GridPoint,
    Report,
    RunLink,
    RunRow,
    ScoredPrediction,
    TunedVariant,
    VariantRow,
)
from harness.analysis.stats import CHANCE, STUCK, Compared, Interval, compare_family
from harness.analysis.target import AgainstTarget, against_target, claims, score
from harness.analysis.tuning import is_clear, maxima, ranked, tried_by_variant, unclear
from harness.common.errors import BadInput
from harness.config import changes_text
from harness.experiment import BASELINE, Experiment, factorial_name
from harness.runs.spec import Phase, RunResult
from harness.source_hash import measures_hash

#: Runs by phase and variant.
Groups = dict[tuple[Phase, str], list[RunResult]]


def make_report(
    experiment: Experiment,
    results: Sequence[RunResult],
    design: Design | None = None,
    *,
    labels: np.ndarray | None = None,
    trained: Set[str] = frozenset(),
    links: Mapping[str, RunLink] | None = None,
    missing: int = 0,
    stale: int = 0,
    command: str = "",
) -> Report:
    """The report of an experiment from its runs, of which there is at least one.

    design: None takes the seeds that are there for those that were declared. Other seeds are left out. labels: of the
    images that judged the runs, where they are known. trained: the keys of the runs that were trained just now. links:
    by run key, where MLflow keeps the runs. The other arguments are fields of the report.
    """
    # Tuning runs are judged by other images: they name the report's only while there is nothing else.
    first = next((each for each in results if each.spec.phase != "tuning"), results[0]).spec
    config = first.config
    # The targets are claims about test accuracy after the whole recipe: nothing smaller is held against them.
    fair = published.comparable(config.data) and config.split == "final" and first.budget == "full"
    design = design or _as_declared(results)
    groups = grouped(results)
    judged = _judged_groups(groups, design)
    _check_seeds(judged)
    phases = list(dict.fromkeys(phase for phase, _ in judged))
    without_rate = unclear(tried_by_variant(results))
    measured_by = code_that_measured_last(results, experiment.mechanism)
    effects_of = [effect for phase in phases for effect in _effects(experiment, phase, judged, design)]
    rows = [
        row
        for phase in phases
        for row in _variants(
            experiment, phase, judged, design, fair, without_rate if phase == "retuned" else frozenset()
        )
    ]
    return Report(
        experiment=first.experiment,
        question=experiment.question,
        recipe=first.recipe,
        budget=first.budget,
        changes=first.changes,
        split=config.split,
        data=config.data,
        data_fingerprint=config.data_fingerprint,
        train_images=config.train_images,
        eval_images=config.eval_images,
        precision=config.precision,
        engine=config.engine,
        source=config.source,
        network=next((each.spec.config.network for each in results if each.spec.variant == BASELINE), None),
        class_names=next((tuple(each.result.error_per_class) for each in results if each.result.error_per_class), ()),
        variants=tuple(rows),
        tuning=tuple(_tuned(results)),
        effects=tuple(effects_of),
        no_effects=bool(experiment.factors) and not effects_of and any(row.stuck or row.diverged for row in rows),
        predictions=tuple(_scored(experiment, rows)),
        runs=tuple(_run(each, fair, trained, (links or {}).get(each.spec.config.key, RunLink())) for each in results),
        looks=design.looks,
        exploratory=design.exploratory,
        missing=missing,
        stale=stale,
        command=command,
        measured_by="" if measured_by == measures_hash(config.engine) else measured_by,
        images=tuple(image_rows(judged, _compared_seeds(rows), labels)),
    )


def _compared_seeds(rows: Iterable[VariantRow]) -> dict[tuple[Phase, str], int]:
    return {(row.phase, row.variant): row.against_baseline.n for row in rows if row.against_baseline}


def grouped(results: Iterable[RunResult]) -> Groups:
    """The runs by phase and variant."""
    groups: Groups = {}
    for each in results:
        groups.setdefault((each.spec.phase, each.spec.variant), []).append(each)
    return groups


def _check_seeds(groups: Groups) -> None:
    """Raise BadInput for two runs of one seed: they would count as two, and are not independent."""
    for (phase, variant), members in groups.items():
        for seed, count in Counter(each.spec.config.seed for each in members).items():
            if count > 1:
                keys = [each.spec.config.key for each in members if each.spec.config.seed == seed]
                raise BadInput(f"{variant}, {phase}: seed {seed} is there {count} times: {', '.join(keys)}. Name one.")


def _as_declared(results: Iterable[RunResult]) -> Design:
    return fixed(sorted({each.spec.config.seed for each in results if each.spec.phase != "tuning"}) or [0])


def _judged_groups(groups: Groups, design: Design) -> Groups:
    """The runs of the design's seeds, without those of the tuning."""
    own = {
        (phase, variant): [each for each in members if each.spec.config.seed in design.seeds]
        for (phase, variant), members in groups.items()
        if phase != "tuning"
    }
    return {group: members for group, members in own.items() if members}


def accuracies(results: Sequence[RunResult]) -> dict[int, float]:
    """The accuracy of each seed's run, CHANCE for one that diverged."""
    return {each.spec.config.seed: _accuracy(each) for each in results}


def _variants(
    experiment: Experiment, phase: Phase, groups: Groups, design: Design, fair: bool, unclear: Set[str]
) -> list[VariantRow]:
    """The rows of one phase, each variant of the family beside the baseline on the seeds that both have."""
    own = {variant: members for (of, variant), members in groups.items() if of == phase}
    newest = code_that_measured_last([each for members in own.values() for each in members], experiment.mechanism)
    compared = compare(experiment, phase, groups, design, unclear)
    reference = own.get(BASELINE, [])
    return [
        dataclasses.replace(
            _variant(experiment, members, design, fair, newest, compared.get(variant)),
            judged_in=_judged_in(phase, variant, groups),
            unlike_pairs=_unlike_pairs(members, reference) if variant in compared else 0,
            rate_is_clear=variant not in unclear,
        )
        for variant, members in own.items()
    ]


def compare(
    experiment: Experiment, phase: Phase, groups: Groups, design: Design, unclear: Set[str] = frozenset()
) -> dict[str, Compared]:
    """The comparisons of one phase, which are one family.

    It is without those whose runs an earlier phase has judged, and without the `unclear` ones.
    """
    family = [v for v in experiment.variants if v not in unclear and not _judged_in(phase, v, groups)]
    predicted: dict[str, list[float]] = {}
    for prediction in experiment.predictions:
        predicted.setdefault(prediction.variant, []).extend(claims(prediction))
    variants = {variant: accuracies(groups.get((phase, variant), [])) for variant in family}
    found = compare_family(accuracies(groups.get((phase, BASELINE), [])), variants, design, predicted)
    return {name: dataclasses.replace(each, interval=_possible(each.interval, -1.0)) for name, each in found.items()}


def _possible(interval: Interval | None, low: float) -> Interval | None:
    """An interval, cut where accuracies or their differences end: that of a few runs that lie apart may go beyond."""
    return interval and (max(low, interval[0]), min(1.0, interval[1]))


def going_on(
    experiment: Experiment,
    phase: Phase,
    results: Sequence[RunResult],
    design: Design,
    unclear: Set[str] = frozenset(),
) -> set[str]:
    """The variants that a phase's next look still needs, the baseline with them; none where all is decided.

    The cells of a factorial design go on together, as its effects are of all of them.
    """
    compared = compare(experiment, phase, _judged_groups(grouped(results), design), design, unclear)
    needed = {variant for variant, each in compared.items() if each.goes_on}
    if needed and experiment.factors:
        return set(experiment.all_variants)
    return needed and needed | {BASELINE}


def called_for(
    experiment: Experiment,
    phase: Phase,
    result_of: Callable[[tuple[str, int]], RunResult | None],
    design: Design,
    *,
    elsewhere: Sequence[RunResult] = (),
    unclear: Set[str] = frozenset(),
    most_looks: int | None = None,
) -> set[tuple[str, int]]:
    """Variant and seed of the runs that a design calls for in a phase, by the results that there are.

    Up to the next look these are all variants, and from then on those without a final verdict. result_of: the result of
    the run of a variant and seed, if it has one; nothing else is asked for. elsewhere: results of the other phases.
    unclear: variants without a verdict, as their learning rate is not clear. most_looks: after how many looks to end,
    if before the last one.
    """
    asked: set[tuple[str, int]] = set()
    going = set(experiment.all_variants)
    for start, look in list(zip((0, *design.looks), design.looks, strict=False))[:most_looks]:
        asked |= {(variant, seed) for seed in design.seeds[start:look] for variant in going}
        found = [result for each in asked if (result := result_of(each))]
        if look == design.looks[-1] or len(found) < len(asked):
            break
        going = going_on(experiment, phase, [*elsewhere, *found], design, unclear)
    return asked


def _judged_in(phase: Phase, variant: str, groups: Groups) -> Phase | None:
    """The other phase that compares the same runs: a variant whose best rate is the recipe's own, as the baseline's."""
    pairs = _pairs("same recipe", variant, groups)
    return "same recipe" if phase != "same recipe" and pairs & _pairs(phase, variant, groups) else None


def _pairs(phase: Phase, variant: str, groups: Groups) -> set[tuple[str, str]]:
    """The keys of the two runs that are compared, for each seed."""
    theirs = {each.spec.config.seed: each.spec.config.key for each in groups.get((phase, BASELINE), [])}
    ours = {each.spec.config.seed: each.spec.config.key for each in groups.get((phase, variant), [])}
    return {(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()} if variant != BASELINE else set()


def _unlike_pairs(results: Sequence[RunResult], reference: Sequence[RunResult]) -> int:
    """How many seeds' two runs were trained in different environments, or one of them in more than one."""
    theirs = {each.spec.config.seed: each.folder.environments() for each in reference}
    pairs = [(each.folder.environments(), theirs.get(each.spec.config.seed, [])) for each in results]
    return sum(bool(ours and others) and (len(ours) > 1 or ours != others) for ours, others in pairs)


def _variant(
    experiment: Experiment,
    results: list[RunResult],
    design: Design,
    fair: bool,
    newest: str,
    compared: Compared | None,
) -> VariantRow:
    spec = results[0].spec
    recipe = spec.config.recipe
    finished = [each for each in results if each.result.status == "finished"]
    diverged = len(results) - len(finished)
    accuracy = cross_entropy = None
    if finished:
        losses = [each.result.metrics["cross_entropy"] for each in finished]
        of_each = list(accuracies(finished).values())
        accuracy = against_target(of_each, published.ACCURACY_TARGET, design)
        accuracy = dataclasses.replace(accuracy, interval=_possible(accuracy.interval, 0.0))
        cross_entropy = against_target(losses, published.CROSS_ENTROPY_TARGET, design)
    means, left_out = mechanism(finished, experiment.mechanism, newest)
    return VariantRow(
        variant=spec.variant,
        settings=changes_text(experiment.all_variants.get(spec.variant, {})) or None,
        phase=spec.phase,
        learning_rate=recipe.learning_rate,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        note=recipe.dropout_note,
        n=len(results),
        seeds=tuple(each.spec.config.seed for each in results),
        each=tuple(accuracies(results).values()),
        diverged=diverged,
        stuck=sum(value < STUCK for value in accuracies(finished).values()),
        compared=fair,
        accuracy=_judged(accuracy, fair, diverged),
        cross_entropy=_judged(cross_entropy, fair, diverged),
        reached={f"{level}": reached([each.history for each in results], level) for level in LEVELS},
        mechanism=means,
        measured_by_older_code=left_out,
        against_baseline=compared,
    )


def _judged(measured: AgainstTarget | None, fair: bool, diverged: int) -> AgainstTarget | None:
    """The same without its verdict where that would mislead."""
    if measured is None or (fair and not diverged):
        return measured
    # A mean over the seeds that survived says nothing about the recipe.
    return dataclasses.replace(measured, verdict="none: a run diverged" if fair else "not compared", p=None)


def _scored(experiment: Experiment, rows: Sequence[VariantRow]) -> Iterable[ScoredPrediction]:
    """Every prediction, in every phase that compares its variant with the baseline."""
    for phase in dict.fromkeys(row.phase for row in rows):
        compared = {row.variant: row.against_baseline for row in rows if row.phase == phase}
        for prediction in experiment.predictions:
            if against := compared.get(prediction.variant):
                said, because = score(prediction, against)
                yield ScoredPrediction(
                    phase, prediction.variant, prediction.direction, prediction.by, score=said, because=because
                )


def _effects(experiment: Experiment, phase: Phase, groups: Groups, design: Design) -> list[EffectRow]:
    """Main effects and interactions of a factorial experiment; empty for the others and while runs are missing.

    Empty too where a run is stuck: an effect is a mean over cells, and one cell at chance would be most of each.
    """
    factors = list(experiment.factors)
    if not factors:
        return []
    cells = {}
    for levels in itertools.product((False, True), repeat=len(factors)):
        off = tuple(name for name, on in zip(factors, levels, strict=True) if not on)
        cells[levels] = accuracies(groups.get((phase, factorial_name(off)), []))
    seeds = [seed for seed in design.seeds if all(seed in values for values in cells.values())]
    if not seeds:
        return []
    # The cells may have stopped at different looks: the last one that all of them have.
    seeds = seeds[: max((look for look in design.looks if look <= len(seeds)), default=len(seeds))]
    paired = {levels: [values[seed] for seed in seeds] for levels, values in cells.items()}
    if any(value < STUCK for values in paired.values() for value in values):
        return []
    found = effects(paired, factors, design)
    return [EffectRow(**vars(effect), phase=phase, effect=name) for name, effect in found.items()]


def _tuned(results: Sequence[RunResult]) -> Iterable[TunedVariant]:
    """The tuning of each variant."""
    rates = {
        (each.spec.variant, each.spec.factor): each.spec.config.recipe.learning_rate
        for each in results
        if each.spec.phase == "tuning"
    }
    by_variant = tried_by_variant(results)
    for variant, tried in by_variant.items():
        points = tuple(
            GridPoint(rates[variant, factor], float(np.mean(list(found.values()))), tuple(found.values()))
            for factor, found in sorted(tried.items())
        )
        best = ranked(tried)[0]
        beside = variant != BASELINE and BASELINE in by_variant
        yield TunedVariant(
            variant,
            points,
            rates[variant, best],
            at_the_edge=best in (min(tried), max(tried)),
            clear=is_clear(tried),
            maxima=maxima(tried, by_variant[BASELINE]) if beside else None,
        )


def _accuracy(result: RunResult) -> float:
    return result.result.metrics.get("accuracy", CHANCE)


def _run(each: RunResult, fair: bool, trained: Set[str], link: RunLink) -> RunRow:
    result, history, spec = each.result, each.history, each.spec
    on_test_images = fair and spec.phase != "tuning" and history
    return RunRow(
        name=spec.name,
        variant=spec.variant,
        phase=spec.phase,
        seed=spec.config.seed,
        learning_rate=spec.config.recipe.learning_rate,
        run_key=spec.config.key,
        mlflow_run_id=link.run_id,
        url=link.url,
        status=result.status,
        reason=result.reason,
        trained=spec.config.key in trained,
        accuracy=result.metrics.get("accuracy"),
        cross_entropy=result.metrics.get("cross_entropy"),
        training_seconds=result.metrics.get("training_seconds"),
        tracking_seconds=link.tracking_seconds,
        pflop=history[-1]["pflop"] if history else 0.0,
        distance_to_published=published.distance([row["test_accuracy"] for row in history]) if on_test_images else None,
        weights_sha256=result.weights_sha256,
        artifacts=str(each.folder.artifacts) if each.folder.artifacts.is_dir() else "",
    )
