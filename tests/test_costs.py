"""Cost estimates against times drawn from known laws."""

import itertools
import math
import random

import pytest

from sweeper.cell import AXES, Cell, Gabor, make_cell
from sweeper.costs import Costs

CELL = make_cell(dataset="isic2019", model="resnet50", fraction=0.5, size=64, epochs=20, depth=3, frozen=1)
OTHER = {  # another value of every axis that tells, in the order in which they are left out
    "augment": "flip",
    "batch_size": 16,
    "validations": 2,
    "head_epochs": 5,
    "frozen": 2,
    "amp": "bf16",
    "fraction": 0.25,
    "size": 32,
    "width": 16,
    "slim_factor": 4,
    "slim": 1,
    "depth": 2,
    "dataset": "chexpert",
    "model": "cbr_mini",
}
IDLE = {  # another value of axes that do not tell
    "fold": 3,
    "protocol": "hidden_v2",
    "shots": 5,
    "source": "imagenet",
    "blocks": 1,
    "rest": "stats",
    "lr": 0.1,
    "optimizer": "sgd",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup": 2.0,
    "patience": 3,
    "seed": 7,
    "pixels": "caffe",
    "head": "flatten",
    "head_start": "kaiming",
    "dropout": 0.5,
    "input": "sum",
    "norms": "reset",
    "tables": "draw",
    "gabor": Gabor(),
    "momentum": 0.5,
    "nesterov": False,
    "scale_lr": True,
    "warmup_steps": 9,
    "lr_end": 1e-6,
    "milestones": (3,),
    "factor": 0.5,
    "plateau": 5,
    "lr_floor": 1e-6,
    "clip": 1.0,
    "loss": "focal",
    "class_weights": "balanced",
    "focal_gamma": 1.0,
    "frozen_norms": "learn",
    "backbone_decay": 10.0,
    "head_lr": 0.1,
    "head_patience": 3,
    "head_monitor": "loss",
    "monitor": "loss",
}


def random_cells(count: int, seed: int) -> list[Cell]:
    """Cells over all axes that tell."""
    draws = random.Random(seed)
    return [
        make_cell(
            dataset=draws.choice(["isic2019", "chexpert"]),
            model=draws.choice(["resnet50", "deit_small", "cbr_mini"]),
            depth=draws.choice([None, 1, 2, 3]),
            grain=draws.choice(["block", "layer"]),
            fraction=draws.choice([0.1, 0.5, 1.0]),
            size=draws.choice([32, 64, 224]),
            augment=draws.choice(["none", "flip"]),
            batch_size=draws.choice([16, 64]),
            frozen=draws.choice([0, 1]),
            amp=draws.choice(["off", "bf16"]),
            slim=draws.choice([None, 1]),
            epochs=draws.choice([1, 7, 30]),
            seed=draws.randrange(1000),
        )
        for _ in range(count)
    ]


def known(seconds: dict[Cell, float], epochs: int = 1) -> Costs:
    """Costs that observed these."""
    costs = Costs()
    for cell, took in seconds.items():
        costs.observe(cell, took, epochs)
    return costs


def test_nothing_is_expected_before_an_observation() -> None:
    assert Costs().expected(CELL) is None


def test_a_law_linear_in_fraction_and_epochs_is_recovered() -> None:
    costs = Costs()
    for fraction, epochs in itertools.product([0.1, 0.5, 1.0], [1, 5, 30]):
        costs.observe(CELL.replace(fraction=fraction), 17.0 * fraction * epochs, epochs)
    for fraction, epochs in itertools.product([0.1, 0.3, 0.5, 0.75, 1.0], [1, 8, 90]):
        assert costs.expected(CELL.replace(fraction=fraction), epochs) == pytest.approx(17.0 * fraction * epochs)


def test_a_law_quadratic_in_size_is_recovered() -> None:
    costs = known({CELL.replace(size=size): 1e-3 * size**2 for size in (32, 64)})
    assert costs.expected(CELL.replace(size=224), 1) == pytest.approx(1e-3 * 224**2)


def test_a_law_linear_in_the_share_of_blocks_is_recovered() -> None:
    costs = known({CELL.replace(depth=2): 2.0})
    assert costs.expected(CELL.replace(depth=4), 1) == pytest.approx(4.0)


def test_an_observed_size_is_not_scaled_from_another() -> None:
    costs = known({CELL.replace(size=32): 5.0, CELL.replace(size=64): 6.0})
    assert costs.expected(CELL.replace(size=64), 1) == pytest.approx(6.0)


def test_no_epochs_means_the_recipes() -> None:
    costs = known({CELL: 3.0})
    assert costs.expected(CELL) == costs.expected(CELL, 20) == pytest.approx(60.0)


def test_patience_does_not_shorten_what_is_expected() -> None:
    costs = known({CELL: 3.0})
    assert costs.expected(CELL.replace(patience=1)) == costs.expected(CELL)


def test_every_axis_either_tells_or_does_not() -> None:
    assert {*OTHER, *IDLE, "grain", "epochs"} == set(AXES)


@pytest.mark.parametrize("axis", IDLE)
def test_an_axis_that_costs_nothing_changes_no_estimate(axis: str) -> None:
    costs = known({CELL: 3.0, CELL.replace(model="cbr_mini"): 0.1})
    assert costs.expected(CELL.replace(**{axis: IDLE[axis]})) == costs.expected(CELL)


@pytest.mark.parametrize(("later", "sooner"), itertools.combinations(OTHER, 2))
def test_likeness_is_given_up_in_order(later: str, sooner: str) -> None:
    """Of two cells that each differ in one axis, the one whose axis is left out first is the evidence."""
    near, far = CELL.replace(**{later: OTHER[later]}), CELL.replace(**{sooner: OTHER[sooner]})
    assert known({near: 3.0, far: 500.0}).expected(CELL) == known({near: 3.0}).expected(CELL)


@pytest.mark.parametrize("axis", OTHER)
def test_an_equal_cell_is_better_evidence_than_one_that_differs_in_any_axis(axis: str) -> None:
    costs = known({CELL.replace(**{axis: OTHER[axis]}): 500.0, CELL: 3.0})
    assert costs.expected(CELL, 1) == pytest.approx(3.0)


def test_depths_of_another_grain_are_not_alike() -> None:
    costs = known({CELL.replace(grain="layer"): 500.0, CELL: 3.0})
    assert costs.expected(CELL, 1) == pytest.approx(3.0)


def test_anything_at_all_is_evidence_for_everything() -> None:
    costs = known({CELL: 3.0})
    assert all((costs.expected(cell) or 0) > 0 for cell in random_cells(200, seed=1))


def test_the_estimates_of_what_was_observed_add_up_to_what_it_took() -> None:
    draws = random.Random(2)
    costs, cells = Costs(), random_cells(300, seed=2)
    took = [draws.lognormvariate(3, 1) for _ in cells]
    for cell, seconds in zip(cells, took, strict=True):
        costs.observe(cell, seconds, cell.recipe.epochs)
    assert sum(costs.expected(cell) or 0 for cell in cells) == pytest.approx(sum(took))


def test_the_order_of_observations_does_not_matter() -> None:
    cells = random_cells(100, seed=3)
    seconds = {cell: 1.0 + place for place, cell in enumerate(cells)}
    forwards, backwards = known(seconds), known(dict(reversed(seconds.items())))
    for cell in cells:
        assert forwards.expected(cell) == pytest.approx(backwards.expected(cell))


@pytest.mark.parametrize("observed", [0, 1, 50])
def test_a_longer_recipe_is_never_expected_to_be_shorter(observed: int) -> None:
    draws = random.Random(4)
    costs = known({cell: draws.lognormvariate(3, 1) for cell in random_cells(observed, seed=4)})
    for cell in random_cells(50, seed=5):
        ranks = [costs.rank(cell.replace(epochs=epochs)) for epochs in (1, 2, 3, 10, 99, 100, 1000)]
        assert ranks == sorted(ranks)


def test_every_cell_has_a_rank_before_any_observation() -> None:
    assert all(0 < Costs().rank(cell) < math.inf for cell in random_cells(200, seed=6))


@pytest.mark.parametrize("axis", ["epochs", "fraction", "size", "depth"])
def test_before_any_observation_more_work_ranks_higher(axis: str) -> None:
    values = {"epochs": [1, 5, 50], "fraction": [0.1, 0.5, 1.0], "size": [28, 64, 224], "depth": [1, 2, 4]}[axis]
    ranks = [Costs().rank(CELL.replace(**{axis: value})) for value in values]
    assert ranks == sorted(set(ranks))


def test_a_whole_model_ranks_at_least_as_high_as_a_cut_one() -> None:
    for grain, depth in (("block", 9), ("layer", 40)):
        cut = CELL.replace(grain=grain, depth=depth)
        assert Costs().rank(cut) <= Costs().rank(cut.replace(depth=None))


def test_after_an_observation_the_rank_is_the_expected_time() -> None:
    costs = known({CELL: 3.0})
    for cell in random_cells(50, seed=7):
        assert costs.rank(cell) == costs.expected(cell)


@pytest.mark.parametrize(("seconds", "epochs"), [(math.nan, 1), (math.inf, 1), (-1.0, 1), (1.0, 0)])
def test_a_time_that_cannot_have_been_measured_is_refused(seconds: float, epochs: int) -> None:
    with pytest.raises(ValueError, match=f"{CELL.key}: {seconds} s for {epochs} epochs cannot have been measured"):
        Costs().observe(CELL, seconds, epochs)
