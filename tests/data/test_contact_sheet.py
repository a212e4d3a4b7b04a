"""Contact sheets: which images they show, and that one can see them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import noise
from PIL import Image

from sweeper.data.contact_sheet import chosen, draw_sheets, thumbnail

COLOURS = {"red.png": (220, 30, 40), "blue.png": (20, 60, 210)}


def decode(image: str) -> np.ndarray:
    return np.full((30, 60, 3), COLOURS[image], np.uint8)


def sheets(path: Path, classes: dict[str, list[str]], size: int = 64) -> list[Path]:
    tables = {label: pd.DataFrame({"image": images, "part": None}) for label, images in classes.items()}
    return draw_sheets(tables, title="own: some", decode=decode, size=size, path=path / "own.png")


def pixels_of(path: Path, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(axis=2).sum())


def test_each_image_is_shown_whole_with_its_longer_side_at_the_size(tmp_path: Path) -> None:
    (sheet,) = sheets(tmp_path, {"warm": ["red.png"], "cold": ["blue.png"]}, size=100)
    assert {name: pixels_of(sheet, colour) for name, colour in COLOURS.items()} == {"red.png": 5000, "blue.png": 5000}


def test_a_class_without_images_keeps_its_row(tmp_path: Path) -> None:
    (one,) = sheets(tmp_path / "one", {"warm": ["red.png"]})
    (two,) = sheets(tmp_path / "two", {"warm": ["red.png"], "none": []})
    assert Image.open(two).height > Image.open(one).height


def test_the_same_set_gives_the_same_sheet(tmp_path: Path) -> None:
    classes = {"warm": ["red.png"], "cold": ["blue.png"]}
    (one,), (other,) = sheets(tmp_path / "one", classes), sheets(tmp_path / "other", classes)
    assert one.read_bytes() == other.read_bytes()


def test_names_of_any_length_and_alphabet_are_drawn(tmp_path: Path) -> None:
    names = {"x" * 3000: ["red.png"], "Ärzte \u03b1\u03b2 / \u0436": ["blue.png"]}
    (sheet,) = sheets(tmp_path, names)
    assert Image.open(sheet).width < 1000


def test_many_classes_are_shared_out_over_several_sheets(tmp_path: Path) -> None:
    found = sheets(tmp_path, {f"{number:02d}": ["red.png"] for number in range(41)})
    assert [sheet.name for sheet in found] == ["own-1.png", "own-2.png", "own-3.png"]
    assert sum(pixels_of(sheet, COLOURS["red.png"]) for sheet in found) == 41 * 64 * 32


def test_a_size_at_which_nothing_is_seen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be at least 64"):
        sheets(tmp_path, {"warm": ["red.png"]}, size=63)


@pytest.mark.parametrize("number", [1, 7, 8, 9, 1000])
def test_at_most_eight_images_are_chosen_from_the_first_to_the_last(number: int) -> None:
    images = [f"{each:04d}" for each in range(number)]
    found = chosen(images)
    assert len(found) == len(set(found)) == min(8, number)
    assert (found[0], found[-1]) == (images[0], images[-1])


def test_the_choice_does_not_depend_on_the_order() -> None:
    images = [f"{each:04d}" for each in range(50)]
    assert chosen(images[::-1]) == chosen(images)


def test_of_no_images_none_is_chosen() -> None:
    assert chosen([]) == []


def test_a_small_image_is_enlarged_by_whole_pixels() -> None:
    pixels = noise(1, 8, 5, 1)
    np.testing.assert_array_equal(np.asarray(thumbnail(pixels, 70)), np.kron(pixels[:, :, 0], np.ones((8, 8))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_image_keeps_its_shape(channels: int) -> None:
    assert thumbnail(noise(1, 300, 600, channels), 128).size == (128, 64)
