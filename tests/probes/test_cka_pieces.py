"""CKA of features in pieces is that of the same features in memory, which its own tests compare with others."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from golden_layers import golden_layers, normal

from sweeper.probes.cka import Estimator, cka
from sweeper.probes.cka_pieces import Pieces, cka_of_pieces

ESTIMATORS: tuple[Estimator, ...] = ("debiased", "biased")


def pieces(x: np.ndarray, y: np.ndarray, size: int = 64) -> Pieces:
    def start() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from ((x[first : first + size], y[first : first + size]) for first in range(0, len(x), size))

    return start


def test_pieces_of_the_golden_layers_give_the_golden_values() -> None:
    assert cka_of_pieces(pieces(*golden_layers())) == pytest.approx(0.73080016, abs=5e-9)
    assert cka_of_pieces(pieces(*golden_layers()), estimator="biased") == pytest.approx(0.73376148, abs=5e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_pieces_of_any_size_give_the_value_of_all_at_once(size: int, estimator: Estimator) -> None:
    x, y = (normal(300, width, seed=width).astype(np.float32) for width in (20, 33))
    y[:, :20] += x
    found = cka_of_pieces(pieces(x, y + np.float32(3), size), estimator=estimator)
    assert found == pytest.approx(cka(x, y + np.float32(3), estimator=estimator), rel=1e-12)


def test_a_shift_a_million_times_the_spread_changes_nothing() -> None:
    x, y = golden_layers()
    assert cka_of_pieces(pieces(x + 1e6, y)) == pytest.approx(cka(x, y), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1 / 3, -1e4])
def test_constant_features_have_no_similarity(value: float) -> None:
    found = cka_of_pieces(pieces(np.full((100, 5), value), normal(100, 5)))
    assert found is not None
    assert math.isnan(found)


def test_fewer_than_four_images_a_feature_are_left_to_grams() -> None:
    assert cka_of_pieces(pieces(normal(79, 20), normal(79, 3))) is None
    assert cka_of_pieces(pieces(normal(80, 20), normal(80, 3))) is not None


def test_a_layer_whose_digits_are_in_its_gram_matrix_is_left_to_it() -> None:
    x, y = normal(100, 5), normal(100, 5, seed=1)
    x[0] += 1e6
    assert cka_of_pieces(pieces(x, y)) is None
    assert cka_of_pieces(pieces(x, y), estimator="biased") is not None


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (normal(3, 2), normal(3, 2), "needs at least 4 images, there are 3"),
        (normal(90, 2), normal(80, 2), "one side has 26 images, the other 16"),
        (np.where(normal(90, 2) > 2, np.nan, 1.0), normal(90, 2), "not finite"),
        (normal(90, 2, 2), normal(90, 2), "a similarity needs"),
        (normal(0, 2), normal(0, 2), "there are none"),
    ],
)
def test_what_has_no_cka_is_refused_as_in_memory(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cka_of_pieces(pieces(x, y))
