"""What README and docs quote: the comparisons, and the seeds that were declared for each.

    make evidence     # train what is missing of them, at low priority: days of two cores
    make verify       # make every report and table again from the committed evidence, and compare

They are trained look by look, and in a look seed by seed, all variants of a seed together. What is decided at a look
gets no further seeds. Plain SGD comes first: no other question depends on the size of a gradient. Nothing is left out
silently: a report counts the runs that it lacks.
"""

from dataclasses import replace
from typing import Any

from harness.analysis.studies import Study

#: Withdrawn after the first look: the rate of `classic`, tuned at full size, is too high for a training as short as
#: `quick` (docs/answers.md). Their runs stay in the tables.
WITHDRAWN = tuple(
    Study(name=f"withdrawn-{name}", experiment=name, recipe="classic", seeds=(0, 1, 2, 3), variants=variants)
    for name, variants in {"factorial": (), "ablate_linear": (), "ablate_activation": ("tanh",)}.items()
)

#: The rate of `classic` at `quick`, chosen on validation images with the seeds 0 to 2 (docs/recipes.md): a rate is not
#: judged by the seeds that chose it.
CLASSIC: dict[str, Any] = {"recipe": "classic", "changes": {"learning_rate": 0.05}, "seeds": tuple(range(3, 13))}

#: In bfloat16 where the processor has it: what was trained in float32 is a study apart.
STUDIES = (
    Study(name="classic-factorial", experiment="factorial", **CLASSIC),
    Study(name="classic-linear", experiment="ablate_linear", **CLASSIC),
    Study(name="classic-tanh", experiment="ablate_activation", variants=("tanh",), **CLASSIC),
    *(
        Study(name=f"fast-{name}", experiment=f"{prefix}{name}")
        for prefix, names in {
            "": ["factorial"],
            "ablate_": ["bn", "activation", "linear", "scaling", "order"],
        }.items()
        for name in names
    ),
    Study(name="ladder", experiment="ladder"),
    Study(name="fast-dropout", experiment="ablate_dropout"),
    *(
        Study(name=f"size-{images}", experiment="size_curve", budget=f"quick:{images}")
        for images in (500, 1_000, 2_000, 5_000, 10_000)
    ),
    Study(name="size-all", experiment="size_curve", budget="full", changes={"epochs": 1}),
    # Last of each look: every variant, the baseline too, at the best of four rates or more, two to four seeds each.
    Study(name="classic-factorial-retuned", experiment="factorial", retuned=True, **CLASSIC),
    Study(name="classic-linear-retuned", experiment="ablate_linear", retuned=True, **CLASSIC),
    *(
        Study(name=f"fast-{name}-retuned", experiment=f"{prefix}{name}", retuned=True)
        for prefix, name in (
            ("", "factorial"),
            *(("ablate_", each) for each in ("bn", "activation", "linear", "scaling")),
        )
    ),
)

#: The baseline against itself (`harness calibrate`, docs/calibration.md): runs that differ in nothing but the seed.
CALIBRATION = Study(name="calibration", experiment="baseline", seeds=tuple(range(100)), looks=(100,))

#: One H200, 2026-11-27. Ten seeds were declared, and time ended before: intervals without a verdict. `ablate_dropout`
#: and 200 epochs of `published` were declared too; no run of them was made.
FULL = tuple(
    Study(name=name, experiment=name, budget="full", engine="jax", looks=(10,))
    for name in ("ablate_activation", "ablate_bn", "ablate_linear", "ablate_order", "ablate_scaling", "factorial")
)

#: A second campaign on a GPU of that kind, with five other seeds, fixed before it: a replication of the first one, and
#: plain SGD at full size, at the rate that was tuned there with the seeds 0 to 2 (docs/recipes.md).
SECOND: dict[str, Any] = {"budget": "full", "engine": "jax", "seeds": tuple(range(10, 15)), "looks": (5,)}
AGAIN = (
    *(Study(name=f"again-{study.experiment}", experiment=study.experiment, **SECOND) for study in FULL),
    Study(name="full-classic-factorial", experiment="factorial", recipe="classic", **SECOND),
    Study(name="full-classic-linear", experiment="ablate_linear", recipe="classic", **SECOND),
    Study(name="full-classic-tanh", experiment="ablate_activation", recipe="classic", variants=("tanh",), **SECOND),
    Study(name="again-ablate_dropout", experiment="ablate_dropout", **SECOND),
)

#: `STUDIES` once more, for a GPU, where they take minutes (experiments/gpu/): other seeds, one look, another engine,
#: so another sample of the same questions. With the hundred runs of `harness calibrate`.
QUICK_ON_GPU = (
    *(
        replace(study, name=f"gpu-{study.name}", engine="jax", seeds=tuple(range(20, 30)), looks=(10,))
        for study in STUDIES
    ),
    replace(CALIBRATION, name="gpu-calibration", engine="jax"),
)

#: All whose reports are published. Of two alike the first one answers `harness compare`.
DECLARED = (*STUDIES, CALIBRATION, *AGAIN, *FULL, *QUICK_ON_GPU)

#: The recipes beside the target, ten declared seeds each.
ON_GPU: dict[str, Any] = {"experiment": "baseline", "budget": "full", "engine": "jax", "looks": (10,)}
FAST = Study(name="full-fast", **ON_GPU)
SIX_EPOCHS = Study(
    name="full-six-epochs",
    **ON_GPU,
    seeds=tuple(range(10, 20)),
    changes={
        "epochs": 6,
        "learning_rate": 0.0542,
        "warmup": 0.1,
        "momentum": 0.85,
        "weight_decay": 0.0433,
        "label_smoothing": 0.05,
        "shift": 3,
    },
)

#: One look with the notebook's dropout, as `experiments/gpu/ideas.py` declares it, and one run of `published`.
DROPOUT = Study(
    name="full-dropout",
    **ON_GPU,
    seeds=tuple(range(10, 20)),
    changes={"epochs": 16, "dropout": (0.5,) * 4, "dropout_ramp": True, "normalization_place": "after"},
)
PUBLISHED = Study(name="full-published", **(ON_GPU | {"looks": (1,)}), recipe="published", seeds=(0,))

#: Recipes by themselves: they have no report of their own.
RECIPES = (FAST, SIX_EPOCHS, DROPOUT, PUBLISHED)
