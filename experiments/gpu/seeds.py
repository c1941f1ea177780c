"""Does it pay to train several seeds as one program?  python experiments/gpu/seeds.py SEEDS STEPS BATCH OUT.json

Times STEPS steps of `fast` at a batch size with one seed, and with SEEDS seeds by `jax.vmap`; writes images/s of both.
"""

import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path

from harness import data, plan
from harness.engine.backend import import_keras
from harness.engine.devices import resolve_precision

import_keras("jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from harness.engine.backend import open_engine  # noqa: E402
from harness.engine.jax.arguments import Steps, steps_of  # noqa: E402
from harness.engine.jax.engine import JaxEngine  # noqa: E402

ROUNDS = 3


def main(seeds: int, steps: int, batch: int, out: Path) -> None:
    """Measure and write. A round is one call of the compiled program; the first one compiles and is left out."""
    dataset = data.load("cifar10")
    settings = plan.Settings(engine="jax", precision=resolve_precision("auto", "jax"), changes={"batch_size": batch})
    config = plan.run_spec("baseline", "baseline", {}, dataset, settings, 0, "same recipe").config
    engine = open_engine(config, plan.images_of(config, dataset))
    assert isinstance(engine, JaxEngine)
    program = engine._program
    images = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels, jnp.int32)
    found: dict[str, object] = {"device": engine.device, "batch": config.recipe.batch_size, "steps": steps}
    for count in (1, seeds):
        configs = [dataclasses.replace(config, seed=seed) for seed in range(count)]
        starts = [program.read(program.initial_state(each, plan.images_of(each, dataset))) for each in configs]
        inputs = [Steps(*(v[:steps] for v in steps_of(each, 0, len(dataset.train_images)))) for each in configs]
        variables, now = (jax.tree.map(lambda *values: jnp.stack(values), *each) for each in (starts, inputs))
        train = jax.jit(jax.vmap(program._all_steps, in_axes=(0, None, 0, None)))
        rates = []
        for _ in range(ROUNDS + 1):
            begin = time.perf_counter()
            jax.block_until_ready(train(variables, images, now, engine._settings))
            rates.append(count * steps * config.recipe.batch_size / (time.perf_counter() - begin))
        found[f"images_per_s_{count}"] = statistics.median(rates[1:])
        found[f"rounds_{count}"] = rates[1:]
        print(f"{count} seeds: {statistics.median(rates[1:]):.0f} images/s", flush=True)
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
