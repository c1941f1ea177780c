"""The run key: equal for equal runs, different for any difference, and blind to nothing that matters."""

import dataclasses

import pytest
from conftest import SMALL_RECIPE, small_config
from hypothesis import given
from hypothesis import strategies as st

from harness import recipes
from harness.common.errors import BadInput
from harness.config import Network, Recipe, change, from_json
from harness.plan import parse_seeds

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
        ({"dropout": "0.5"}, "dropout"),
        ({"dropout": "a,b,c,d"}, "four rates"),
        ({"flip": "perhaps"}, "true or false"),
        ({"learning_rate": "-1"}, "out of range"),
    ],
)
def test_change_explains_what_does_not_fit(changes: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        change(Network(), SMALL_RECIPE, changes)


def test_seeds() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("0,4,7") == [0, 4, 7]
    for text in ("0", "a", "", "1,1", "-1"):
        with pytest.raises(BadInput):
            parse_seeds(text)


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
