"""Juodelyte et al.'s draws against CCA of all positions, and what is drawn alike for both models."""

import numpy as np
import pytest
from golden_layers import normal
from scipy.linalg import subspace_angles

from sweeper.probes.drawn_cca import drawn_cca, images_for


@pytest.mark.parametrize(("size", "images"), [(112, 1), (56, 3), (28, 13), (14, 51), (7, 204)])
def test_ten_thousand_positions_are_as_many_images_as_in_the_study(size: int, images: int) -> None:
    assert images_for(10_000, size, size) == images


def test_draws_of_all_there_is_are_the_mean_over_all_positions() -> None:
    x, y = normal(4, 6, 5, 5), normal(4, 6, 5, 5, seed=1)
    y[:, 2] += x[:, 5]
    rows = [maps.transpose(0, 2, 3, 1).reshape(100, 6) for maps in (x, y)]
    expected = np.cos(subspace_angles(*(each - each.mean(axis=0) for each in rows))).mean()
    found = drawn_cca(x, y, seed=0, points=100, channels=6)
    np.testing.assert_allclose(found, [expected] * 5, atol=1e-12)


def test_both_models_are_drawn_the_same_channels_and_images() -> None:
    x = normal(40, 200, 4, 4)
    np.testing.assert_allclose(drawn_cca(x, x, seed=3, points=320, channels=20), 1, atol=1e-12)


def test_each_draw_takes_other_channels_and_a_seed_repeats_them() -> None:
    x, y = normal(40, 30, 4, 4), normal(40, 30, 4, 4, seed=1)
    found = drawn_cca(x, y, seed=3, points=320, channels=20)
    assert len(set(found)) == 5
    np.testing.assert_array_equal(drawn_cca(x, y, seed=3, points=320, channels=20), found)
    assert set(drawn_cca(x, y, seed=4, points=320, channels=20)).isdisjoint(found)


def test_draws_of_random_maps_read_what_random_matrices_read() -> None:
    x, y = normal(50, 64, 14, 14), normal(50, 64, 14, 14, seed=1)
    # E[sum of squared correlations] = p q / (n - 1), and all lie in a narrow quarter-circle-like band up to 0.16.
    found = drawn_cca(x, y, seed=0, points=50 * 196)
    assert found.mean() == pytest.approx(8 / (3 * np.pi) * np.sqrt(64 / 9799), rel=0.02)


def test_maps_of_different_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="one architecture"):
        drawn_cca(normal(9, 8, 4, 4), normal(9, 9, 4, 4), seed=0)


@pytest.mark.parametrize(("points", "channels", "what"), [(160, 4, "10 images"), (80, 9, "9 channels")])
def test_more_than_there_is_cannot_be_drawn(points: int, channels: int, what: str) -> None:
    with pytest.raises(ValueError, match=f"a draw takes {what}"):
        drawn_cca(normal(9, 8, 4, 4), normal(9, 8, 4, 4), seed=0, points=points, channels=channels)
