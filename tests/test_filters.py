"""First-layer filters as a picture: which tensor they are, and which grey each value has."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sweeper.filters import first_filters, tiled

FILTERS = np.arange(5 * 3 * 2 * 2, dtype=np.float32).reshape(5, 3, 2, 2)


def test_the_first_channel_of_each_filter_has_its_place_and_lines_are_white() -> None:
    picture = tiled(FILTERS)
    assert picture.shape == (3 * 3 - 1, 3 * 3 - 1)
    np.testing.assert_allclose(picture[3:5, 3:5], FILTERS[4, 0] / FILTERS.max())  # the fifth, in the second row
    assert (picture[2] == 1).all()
    assert (picture[:, 2] == 1).all()
    assert (picture[5:] == 1).all()


def test_pictures_of_common_ends_have_one_grey_for_one_value() -> None:
    one, other = (tiled(each, ends=(-10.0, 90.0)) for each in (FILTERS, FILTERS + 30))
    assert one[0, 0] == pytest.approx(0.1)
    assert other[0, 0] == pytest.approx(0.4)


def test_at_most_so_many_filters_are_shown() -> None:
    assert tiled(FILTERS, count=4).shape == (2 * 3 - 1, 2 * 3 - 1)


@pytest.mark.parametrize(("filters", "text"), [(FILTERS * np.nan, "not finite"), (FILTERS * 0, "hold 0 alone")])
def test_filters_that_show_nothing_are_refused(filters: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiled(filters)


def test_the_first_layer_is_the_one_tensor_that_takes_the_images_channels(tmp_path: Path) -> None:
    inner = np.zeros((5, 5, 2, 2), dtype=np.float32)
    save_file({"a": inner, "stem": FILTERS}, tmp_path / "one")
    save_file({"stem": FILTERS, "second": FILTERS}, tmp_path / "two")
    found = first_filters(tmp_path / "one", channels=3)
    assert found is not None
    np.testing.assert_array_equal(found, FILTERS)
    assert first_filters(tmp_path / "two", channels=3) is None
