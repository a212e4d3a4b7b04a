"""Maps as samples against counting, averages and ramps; centring against rounding."""

import numpy as np
import pytest
import torch
from golden_layers import normal

from sweeper.probes.samples import as_samples, centred, positions, resized


def test_centred_features_have_mean_zero_and_keep_their_differences() -> None:
    x = normal(50, 4) + 1e5
    found = centred(x).numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(found[3] - found[8], x[3] - x[8], atol=1e-15)


def test_a_feature_that_never_changes_becomes_an_exact_zero() -> None:
    x = np.full((1000, 1), 0.1)
    assert (x - x.mean(axis=0)).any()  # as a mean alone would leave it
    assert not centred(x).any()


def test_positions_are_rows_of_channels_image_by_image_and_line_by_line() -> None:
    maps = np.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4).astype(np.float32)
    rows = positions(maps)
    assert rows.shape == (16, 3)
    np.testing.assert_array_equal(rows[8 + 4 + 2], maps[1, :, 1, 2])


def test_pooled_maps_are_the_means_over_positions() -> None:
    x, y = normal(5, 3, 4, 4), normal(5, 2, 7, 3)
    left, right = as_samples(x, y, how="pooled")
    np.testing.assert_allclose(left, x.mean(axis=(2, 3)), atol=1e-14)
    np.testing.assert_allclose(right, y.mean(axis=(2, 3)), atol=1e-14)


def test_maps_of_their_own_size_are_resized_to_themselves() -> None:
    x = normal(2, 3, 5, 4)
    np.testing.assert_allclose(resized(x, 5, 4), x, atol=1e-14)


def test_a_ramp_resized_is_a_ramp_through_the_same_pixel_centres() -> None:
    ramp = np.broadcast_to(np.arange(4.0), (1, 1, 4, 4)).copy()
    line = resized(ramp, 4, 8)[0, 0, 0]
    np.testing.assert_allclose(line, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-14)


def test_resized_maps_take_the_larger_height_and_the_larger_width() -> None:
    left, right = as_samples(normal(2, 3, 4, 9), normal(2, 5, 6, 2), how="resized")
    assert (left.shape, right.shape) == ((2 * 6 * 9, 3), (2 * 6 * 9, 5))


def test_positions_of_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(2, 2\), .* take how='resized'"):
        as_samples(normal(2, 3, 4, 4), normal(2, 3, 2, 2), how="positions")


def test_maps_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 images"):
        as_samples(normal(2, 3, 4, 4), normal(3, 3, 4, 4), how="pooled")


def test_vectors_are_no_maps() -> None:
    with pytest.raises(ValueError, match="not \\(images, channels, height, width\\)"):
        positions(normal(4, 3))


def test_maps_in_half_precision_are_averaged_in_double() -> None:
    maps = torch.full((1, 1, 100, 100), 60000.0, dtype=torch.float16)  # their sum overflows
    assert as_samples(maps, maps, how="pooled")[0].item() == 60000.0
