"""The run key: equal for equal runs, different for any difference, and blind to nothing that matters."""

import dataclasses
import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL_RECIPE, small_config
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from harness import experiment, recipes
from harness.common.errors import BadInput
from harness.config import LATER, Network, Recipe, change, changes_text, from_json, parse_changes, read_changes
from harness.experiment import Experiment
from harness.plan import Settings
from harness.run_options import TUNING_SEED, parse_seeds
from harness.runs.spec import RunSpec
from harness.search.space import faults

rates = st.floats(0, 0.9)
any_recipe = st.builds(
    Recipe,
    epochs=st.integers(1, 300),
    batch_size=st.integers(2, 4096),
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    learning_rate=st.floats(1e-6, 10),
    schedule=st.sampled_from(["one-cycle", "constant"]),
    warmup=st.floats(0, 0.9),
    weight_decay=st.floats(0, 1),
    dropout=st.tuples(rates, rates, rates, rates),
    dropout_ramp=st.booleans(),
    shift=st.integers(0, 16),
)


@given(any_recipe, st.integers(0, 2**32 - 1))
def test_config_survives_its_json(recipe: Recipe, seed: int) -> None:
    config = small_config(recipe, seed=seed)
    again = from_json(config.to_json())
    assert again == config
    assert again.key == config.key


@given(any_recipe, any_recipe)
def test_keys_are_equal_exactly_for_equal_configs(one: Recipe, other: Recipe) -> None:
    assert (small_config(one).key == small_config(other).key) == (one == other)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(small_config())])
def test_every_field_is_in_the_key(field: str) -> None:
    config = small_config()
    other = {
        "network": Network(activation="tanh"),
        "recipe": dataclasses.replace(SMALL_RECIPE, epochs=4),
        "seed": 1,
        "train_images": 63,
        "eval_images": 39,
    }.get(field, "other")
    assert dataclasses.replace(config, **{field: other}).key != config.key


def test_key_of_a_known_config_stays_what_it_was() -> None:
    # A change here orphans every run that users have on disk: it must be meant.
    assert small_config().key == "b798178e3e074f18"


@pytest.mark.parametrize("part", [Network, Recipe])
def test_a_later_setting_is_in_the_key_unless_it_is_at_its_default(part: type) -> None:
    later = [field for field in dataclasses.fields(part) if field.name in LATER]
    config = small_config()
    text = config.to_json()
    assert later
    for field in later:
        assert f'"{field.name}"' not in text
        other = {
            str: {"random": "whitened", "off": "ema", "reflect": "wrap"}.get(field.default),
            bool: True,
            int: 3,
            float: 0.7,
        }
        network, recipe = change(Network(), SMALL_RECIPE, {field.name: other[type(field.default)]})
        moved = small_config(recipe, network)
        assert f'"{field.name}"' in moved.to_json()
        assert moved.key != config.key
        assert from_json(moved.to_json()) == moved
    assert from_json(text) == config


def test_later_settings_are_settings() -> None:
    assert {field.name for part in (Network, Recipe) for field in dataclasses.fields(part)} >= LATER


def test_flat_names_every_setting_once() -> None:
    config = small_config()
    parts = (Network, Recipe, type(config))
    names = [f.name for part in parts for f in dataclasses.fields(part) if f.name not in ("network", "recipe")]
    assert sorted(config.flat()) == sorted(names)


def test_change_reads_text_as_the_command_line_gives_it() -> None:
    network, recipe = change(
        Network(), SMALL_RECIPE, {"activation": "gelu", "dropout": "0,0.1,0.2,0.3", "flip": "false", "epochs": "7"}
    )
    assert network.activation == "gelu"
    assert (recipe.dropout, recipe.flip, recipe.epochs) == ((0, 0.1, 0.2, 0.3), False, 7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activaton": "relu"}, "did you mean activation"),
        ({"activation": "rely"}, "one of relu, sigmoid"),
        ({"epochs": "many"}, "a whole number"),
        ({"dropout": "0.5"}, "four rates"),
        ({"dropout": "0.5,0.5,0.5"}, "four rates"),
        ({"dropout": "0.5,0.5,0.5,nan"}, "four rates"),
        ({"learning_rate": "inf"}, "a finite number"),
        ({"learning_rate": "1e400"}, "a finite number"),
        ({"weight_decay": "nan"}, "a finite number"),
        ({"epochs": "0"}, "out of range"),
        ({"epochs": "2.5"}, "a whole number"),
        ({"shift": "-1"}, "out of range: it is 0 to 16 pixels"),
        ({"dropout": "a,b,c,d"}, "four rates"),
        ({"flip": "perhaps"}, "true or false"),
        ({"learning_rate": "-1"}, "out of range: it is above 0"),
        ({"sgd_ratio": "-1"}, "out of range: it is 0 or more"),
        ({"muon_iterations": "0"}, "out of range: it is 1 to 20"),
        ({"first_layer": "white"}, "one of random, whitened"),
        ({"threads": "0"}, "out of range: it is 1 to 1024"),
        ({"dirac": "1.5"}, "out of range: it is 0 to 1"),
        ({"alternating_flip": "yes"}, "true or false"),
        ({"shift_mode": "mirror"}, "one of reflect, wrap, zero"),
        ({"weight_averaging": "true"}, "one of off, ema, lookahead"),
        ({"averaging_decay": "1"}, "out of range: it is 0 or more, and below 1"),
        ({"averaging_interval": "0"}, "out of range: it is at least 1"),
        ({"final_rate": "2"}, "out of range: it is 0 to 1"),
        ({"decay_power": "0"}, "out of range: it is above 0"),
    ],
)
def test_change_explains_what_does_not_fit(changes: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        change(Network(), SMALL_RECIPE, changes)


def test_seeds() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("0,4,7") == [0, 4, 7]
    for text in ("0", "a", "", "1,1", "-1", "1001"):
        with pytest.raises(BadInput, match="Invalid value --seeds"):
            parse_seeds(text)


@pytest.mark.parametrize("text", [f"{TUNING_SEED},", f"0,1,{TUNING_SEED}"])
def test_no_result_has_the_seed_that_tunes(text: str) -> None:
    with pytest.raises(BadInput, match=f"seed {TUNING_SEED} is one that learning rates are tuned"):
        parse_seeds(text)


def test_a_budget_may_be_given_another_number_of_images() -> None:
    small = recipes.budget_called("quick:500")
    assert small == dataclasses.replace(recipes.BUDGETS["quick"], train_images=500)
    assert recipes.budget_called("quick:5000") == recipes.budget_called("quick")
    # With 32 steps in an epoch: batches of 15, and Muon's rate goes by the square root.
    shrunk = small.shrink(recipes.FAST, 500)
    assert (shrunk.batch_size, shrunk.learning_rate) == (15, pytest.approx(0.04 * (15 / 128) ** 0.5))


@pytest.mark.parametrize("name", ["quick:", "quick:many", "quick:5", "quick:-500", "quack", "quack:500"])
def test_a_budget_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"--budget quick:|did you mean quick"):
        recipes.budget_called(name)


def test_budgets_only_shrink() -> None:
    for budget in recipes.BUDGETS.values():
        for _, recipe in recipes.RECIPES.values():
            small = budget.shrink(recipe, budget.train_images or 50_000)
            assert small.epochs <= recipe.epochs
            assert small.batch_size <= recipe.batch_size
    assert recipes.BUDGETS["full"].shrink(recipes.FAST, 50_000) == recipes.FAST
    assert recipes.BUDGETS["full"].shrink(recipes.FAST, 45_000) == recipes.FAST
    assert recipes.BUDGETS["full"].shrink(recipes.FAST, 1_437).batch_size == 44


def test_quick_is_5000_images_at_the_batch_size_of_the_recipe() -> None:
    for _, recipe in recipes.RECIPES.values():
        small = recipes.BUDGETS["quick"].shrink(recipe, 5_000)
        assert small == dataclasses.replace(recipe, epochs=8)
    assert recipes.BUDGETS["quick"].train_images == 5_000
    assert recipes.BUDGETS["quick"].eval_images is None


def test_the_rate_goes_with_the_batch_as_the_optimizer_asks_for() -> None:
    assert recipes.rate_for_batch("sgd", 0.1, 128, 32) == pytest.approx(0.025)
    for optimizer in ("muon", "adam", "adamw"):
        assert recipes.rate_for_batch(optimizer, 0.1, 128, 32) == pytest.approx(0.05)
        assert recipes.rate_for_batch(optimizer, 0.1, 128, 128) == 0.1
    smoke = recipes.BUDGETS["smoke"]
    assert smoke.shrink(recipes.FAST, 128).learning_rate == pytest.approx(0.04 * (16 / 128) ** 0.5)
    assert smoke.shrink(recipes.CLASSIC, 128).learning_rate == pytest.approx(0.1 * 16 / 128)


def test_classic_is_fast_with_another_optimizer() -> None:
    differs = {
        name for name, value in dataclasses.asdict(recipes.CLASSIC).items() if value != getattr(recipes.FAST, name)
    }
    assert differs == {"optimizer", "learning_rate", "weight_decay"}
    assert recipes.CLASSIC.optimizer == "sgd"


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(BadInput, match="did you mean published"):
        recipes.named("recipe", recipes.RECIPES, "publised")


FAST = recipes.FAST
#: Values of the wrong type, or beyond all limits, as Python has them in an experiment's file.
INVALID: dict[str, list[Any]] = {
    "shift": [2.7, 2.0, True, None],
    "epochs": [False, -1, [3]],
    "learning_rate": [math.inf, math.nan, True, None, 10**400],
    "flip": [1, 0.0],
    "dropout_ramp": [None],
    "activation": [3, ["relu"]],
    "dropout": [
        0.5,
        (0.5,) * 3,
        (0.5,) * 5,
        (0.5, 0.5, 0.5, True),
        (0.5, 0.5, 0.5, math.nan),
        None,
        dict.fromkeys("abcd"),
    ],
}


@pytest.mark.parametrize("changes", [{name: value} for name in INVALID for value in INVALID[name]], ids=str)
def test_invalid_values_are_refused_wherever_they_stand(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = changes
    says = f"Invalid value {name}=|{name}=.* is out of range"
    with pytest.raises(BadInput, match=says):
        change(Network(), FAST, changes)
    monkeypatch.setattr(importlib.import_module("experiments.baseline"), "experiment", Experiment({"odd": changes}))
    with pytest.raises(BadInput, match=rf"variant 'odd' of experiments/baseline\.py: ({says})"):
        experiment.load("baseline")
    monkeypatch.setattr(recipes, "SAVED", tmp_path)
    file = tmp_path / "odd.json"
    try:
        file.write_text(json.dumps({"network": {}, "recipe": {**changes}}))
    except TypeError:
        return
    with pytest.raises(BadInput, match=r"odd\.json holds no recipe"):
        recipes.recipe_called("odd")


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"shift": Float(0.5, 2.5)}, "shift is a whole number"),
        ({"shift": Int(0, 17)}, "out of range"),
        ({"flip": Choice([0, 1])}, "flip is true or false"),
        ({"learning_rate": Float(0.0, 1.0)}, "out of range"),
        ({"optimizer": Choice(["sgd", "sdg"])}, "optimizer is one of"),
        ({"dropout": (Float(0, 0.5), Float(0, 0.5), Float(0, 0.5), Float(0, 1.0))}, "out of range"),
    ],
)
def test_a_space_that_reaches_invalid_values_is_refused(space: dict[str, Any], says: str) -> None:
    assert any(says in fault for fault in faults(space))


def test_the_space_of_the_search_is_valid() -> None:
    assert not list(faults(importlib.import_module("experiments.search").search.space))


anything = st.one_of(
    st.floats(), st.integers(-3, 10**9), st.booleans(), st.none(), st.text("0123456789.,e+- ", max_size=4),
    st.lists(st.floats(0, 1), min_size=3, max_size=5).map(tuple), st.sampled_from(["sgd", "gelu", "none", "true"]),
    st.floats().map(str), st.integers().map(str), st.lists(st.floats(0, 1), min_size=4, max_size=4).map(
        lambda rates: ", ".join(map(str, rates))),
)  # fmt: skip
SETTINGS = [field.name for part in (Network, Recipe) for field in dataclasses.fields(part)]


@given(st.dictionaries(st.sampled_from(SETTINGS), anything, max_size=3))
def test_what_is_accepted_is_within_limits_and_survives_being_written(changes: dict[str, Any]) -> None:
    try:
        network, recipe = change(Network(), FAST, changes)
    except BadInput:
        return
    config = small_config(recipe, network)
    assert from_json(config.to_json()) == config
    json.loads(config.to_json(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    numbers = [recipe.learning_rate, recipe.warmup, recipe.momentum, recipe.weight_decay, recipe.label_smoothing]
    assert all(type(each) is float and math.isfinite(each) for each in [*numbers, *recipe.dropout])
    assert type(recipe.epochs) is type(recipe.shift) is int
    assert type(recipe.flip) is type(recipe.dropout_ramp) is bool
    assert recipe.epochs >= 1
    assert recipe.learning_rate > 0
    assert 0 <= recipe.shift <= 16
    # The text of the changes is made from what they mean, and means the same.
    text = changes_text(changes)
    assert change(Network(), FAST, read_changes(text)) == (network, recipe)
    assert changes_text(read_changes(text)) == text
    assert Settings(changes=changes).changes == parse_changes(changes) == parse_changes(read_changes(text))


def test_equal_changes_have_one_name_however_they_are_typed() -> None:
    typed = {"learning_rate": "0.040", "dropout": "0.1, 0.2, .30,0.4", "activation": "gelu", "flip": "TRUE"}
    values = {"flip": True, "activation": "gelu", "dropout": [0.1, 0.2, 0.3, 0.4], "learning_rate": 0.04}
    assert changes_text(typed) == changes_text(values)
    assert changes_text(typed) == "activation=gelu, learning_rate=0.04, dropout=0.1,0.2,0.3,0.4, flip=true"
    assert changes_text({"weight_decay": "-0.0"}) == changes_text({"weight_decay": 0}) == "weight_decay=0"
    assert change(Network(), FAST, {"weight_decay": "-0"})[1].weight_decay.hex() == (0.0).hex()


def test_changes_of_older_specs_are_read() -> None:
    old = RunSpec("e", "v", "full", "fast", "same recipe", small_config(), "dropout=0.1, 0.2, 0.3, 0.4, epochs=3")
    assert read_changes(old.changes) == {"dropout": "0.1, 0.2, 0.3, 0.4", "epochs": "3"}
    assert read_changes("") == {}
