"""What a rate search may be told, and the sentence that refuses the rest."""

from typing import Any

import pytest

from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.rules import value_problems


def searched(search: dict[str, Any], **recipe: Any) -> Cell:
    return make_cell(dataset="digits", model="cbr_mini", lr=LrSearch(**{"low": 1e-5, "high": 1e-2} | search), **recipe)


@pytest.mark.parametrize(
    ("search", "recipe"),
    [
        ({"method": "grid", "trials": 25, "epochs": 5, "schedule": "constant"}, {}),
        ({"epochs": 2, "schedule": "constant"}, {"warmup": 3.0}),
        ({"epochs": 2, "method": "range_test"}, {"warmup": 3.0}),
        ({"trials": 24, "epochs": 2, "method": "range_test"}, {}),
        ({"method": "grid", "trials": 1}, {"head_epochs": 3}),
    ],
)
def test_sound_searches_pass(search: dict[str, Any], recipe: dict[str, Any]) -> None:
    assert list(value_problems(searched(search, **recipe))) == []


@pytest.mark.parametrize(
    ("search", "recipe", "sentence"),
    [
        ({"schedule": "cosine"}, {}, "LrSearch has schedule='cosine'; it must be 'recipe' or 'constant'"),
        ({"epochs": 2}, {"warmup": 3.0}, "warmup=3 leaves nothing of the search's epochs=2"),
        (
            {"method": "range_test", "trials": 4},
            {},
            "LrSearch has trials=4; a range test needs at least 5 stretches",
        ),
        (
            {"method": "range_test", "trials": 25, "epochs": 2},
            {},
            "the trials=25 of a range test cannot be shared out evenly over epochs=2",
        ),
        (
            {"method": "range_test"},
            {"head_epochs": 3},
            "a range test finds no rate after head_epochs=3; use method='optuna' or 'grid'",
        ),
    ],
)
def test_what_a_search_cannot_be_is_one_sentence(search: dict[str, Any], recipe: dict[str, Any], sentence: str) -> None:
    assert list(value_problems(searched(search, **recipe))) == [sentence]


def test_a_search_with_the_recipes_schedule_has_the_key_of_before_there_was_a_choice() -> None:
    assert searched({"schedule": "recipe"}).key == searched({}).key != searched({"schedule": "constant"}).key
