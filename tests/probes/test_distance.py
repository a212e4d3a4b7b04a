"""Distances of weights against closed forms, against scipy, and against the defect of Matsoukas et al.'s code."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine, euclidean

from sweeper.probes.distance import cosine_by_block, l2_by_block, l2_total, relative_l2_by_block


def _state(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {"stem.weight": (4, 3, 3, 3), "stem.bias": (4,), "body.weight": (8, 4), "body.norm.weight": (8,)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


KEYS = {"stem": ["stem.weight", "stem.bias"], "body": ["body.weight"]}


def test_a_shift_of_every_element_by_d_is_d_over_the_root_of_their_number() -> None:
    start = {"w": np.zeros((4, 9))}
    assert l2_by_block(start, {"w": np.full((4, 9), 0.3)}, {"b": ["w"]}) == pytest.approx({"b": 0.3 / 6})


def test_a_three_four_triangle_has_distance_five_over_the_number_of_elements() -> None:
    start, trained = {"w": np.zeros((2, 5))}, {"w": np.zeros((2, 5))}
    trained["w"][0, 0], trained["w"][1, 4] = 3, -4
    assert l2_by_block(start, trained, {"b": ["w"]}) == {"b": 0.5}


def test_a_block_has_the_mean_over_its_tensors_of_scipys_distance_per_element() -> None:
    start, trained = _state(0), _state(1)
    each = [euclidean(start[key].ravel(), trained[key].ravel()) / start[key].size for key in KEYS["stem"]]
    assert l2_by_block(start, trained, KEYS)["stem"] == pytest.approx(np.mean(each), rel=1e-6)


def test_blocks_come_out_in_the_order_of_the_keys() -> None:
    assert list(l2_by_block(_state(0), _state(1), KEYS)) == ["stem", "body"]


def test_weights_that_did_not_move_have_distance_zero() -> None:
    assert l2_by_block(_state(0), _state(0), KEYS) == {"stem": 0.0, "body": 0.0}


def test_only_the_block_that_moved_has_a_distance() -> None:
    # Matsoukas et al.'s code compared the whole states for every block and so gave all blocks one value.
    trained = _state(0) | {"body.weight": _state(1)["body.weight"]}
    found = l2_by_block(_state(0), trained, KEYS)
    assert found["stem"] == 0.0 < found["body"]


def test_tensors_that_no_block_counts_do_not_matter() -> None:
    moved = _state(1) | {"body.norm.weight": np.full(8, 1e6, dtype=np.float32)}
    assert l2_by_block(_state(0), moved, KEYS) == l2_by_block(_state(0), _state(1), KEYS)


def test_start_and_trained_may_be_exchanged() -> None:
    assert l2_by_block(_state(0), _state(1), KEYS) == l2_by_block(_state(1), _state(0), KEYS)


def test_torch_tensors_give_the_distances_of_numpy_arrays() -> None:
    tensors = [{name: torch.tensor(values) for name, values in _state(seed).items()} for seed in (0, 1)]
    assert l2_by_block(tensors[0], tensors[1], KEYS) == l2_by_block(_state(0), _state(1), KEYS)


def test_trainable_parameters_of_a_module_can_be_compared() -> None:
    layer = torch.nn.Linear(3, 2)
    moved = {name: values + 1 for name, values in layer.named_parameters()}
    found = l2_by_block(dict(layer.named_parameters()), moved, {"head": ["weight"]})
    assert found["head"] == pytest.approx(1 / math.sqrt(6), rel=1e-6)


def test_differences_are_summed_in_double_precision() -> None:
    # In half precision the squares of 300 overflow.
    start = {"w": torch.zeros(2**20, dtype=torch.float16)}
    trained = {"w": torch.full((2**20,), 300.0, dtype=torch.float16)}
    assert l2_by_block(start, trained, {"b": ["w"]})["b"] == pytest.approx(300 / 2**10, rel=1e-12)


def test_a_block_without_weights_has_no_distance() -> None:
    found = l2_by_block(_state(0), _state(1), KEYS | {"pool": []})
    assert math.isnan(found["pool"])


def test_states_with_different_names_are_refused() -> None:
    trained = {name: values for name, values in _state(1).items() if name != "stem.bias"}
    with pytest.raises(ValueError, match=r"'stem\.bias' only in the starting state"):
        l2_by_block(_state(0), trained, KEYS)


def test_states_with_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'body.weight' is \(8, 4\) at the start and \(2, 4\)"):
        l2_by_block(_state(0), _state(1) | {"body.weight": np.zeros((2, 4))}, KEYS)


def test_a_key_that_no_state_has_is_refused_with_its_block() -> None:
    with pytest.raises(ValueError, match=r"block 'body' counts tensor 'fc\.weight'"):
        l2_by_block(_state(0), _state(1), {"body": ["fc.weight"]})


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'body\.weight' holds values that are not finite"):
        l2_by_block(_state(0), _state(1) | {"body.weight": np.full((8, 4), np.nan, dtype=np.float32)}, KEYS)


def _stem(seed: int) -> np.ndarray:
    return np.concatenate([_state(seed)[key].ravel() for key in KEYS["stem"]]).astype(np.float64)


def test_the_total_is_the_mean_over_the_blocks_that_have_a_distance() -> None:
    assert l2_total({"stem": 0.1, "pool": math.nan, "body": 0.4}) == pytest.approx(0.25)


def test_a_model_without_weights_has_no_total() -> None:
    assert math.isnan(l2_total({"pool": math.nan}))


def test_the_relative_distance_is_scipys_over_the_length_of_the_start() -> None:
    found = relative_l2_by_block(_state(0), _state(1), KEYS)["stem"]
    assert found == pytest.approx(euclidean(_stem(1), _stem(0)) / np.linalg.norm(_stem(0)), rel=1e-12)


def test_weights_that_grew_by_half_moved_by_half_in_their_own_direction() -> None:
    grown = {name: values * np.float32(1.5) for name, values in _state(0).items()}
    assert relative_l2_by_block(_state(0), grown, KEYS) == pytest.approx({"stem": 0.5, "body": 0.5}, rel=1e-6)
    assert cosine_by_block(_state(0), grown, KEYS) == pytest.approx({"stem": 1.0, "body": 1.0}, rel=1e-6)


def test_the_cosine_is_one_minus_scipys_cosine_distance() -> None:
    found = cosine_by_block(_state(0), _state(1), KEYS)["stem"]
    assert found == pytest.approx(1 - cosine(_stem(0), _stem(1)), abs=1e-12)


def test_a_turned_sign_is_the_opposite_direction_and_twice_the_length_away() -> None:
    turned = {name: -values for name, values in _state(0).items()}
    assert cosine_by_block(_state(0), turned, KEYS)["body"] == pytest.approx(-1.0, rel=1e-12)
    assert relative_l2_by_block(_state(0), turned, KEYS)["body"] == pytest.approx(2.0, rel=1e-12)


def test_a_block_that_starts_at_zero_has_neither_relative_distance_nor_direction() -> None:
    start = _state(0) | {"body.weight": np.zeros((8, 4), dtype=np.float32)}
    assert math.isnan(relative_l2_by_block(start, _state(1), KEYS)["body"])
    assert math.isnan(cosine_by_block(start, _state(1), KEYS)["body"])


@pytest.mark.parametrize("measure", [relative_l2_by_block, cosine_by_block])
def test_a_block_without_weights_has_neither(measure: Callable[..., dict[str, float]]) -> None:
    assert math.isnan(measure(_state(0), _state(1), {"pool": []})["pool"])


@pytest.mark.parametrize("measure", [relative_l2_by_block, cosine_by_block])
def test_both_refuse_weights_that_are_not_finite(measure: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(ValueError, match=r"'body\.weight' holds values that are not finite"):
        measure(_state(0), _state(1) | {"body.weight": np.full((8, 4), np.inf, dtype=np.float32)}, KEYS)
