"""Image files of every kind."""

from pathlib import Path

import numpy as np
import pytest
from fakes import draw, noise
from PIL import Image

from sweeper.data.picture import decode_file

RAMP = np.linspace(0, 1, 256).reshape(16, 16)
EXIF_ORIENTATION = 0x0112


def test_colour_is_kept_exactly(tmp_path: Path) -> None:
    pixels = noise(0, 5, 7, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", 3), pixels)


def test_grey_is_repeated_for_three_channels(tmp_path: Path) -> None:
    pixels = noise(0, 5, 7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", 3), np.repeat(pixels[:, :, None], 3, axis=2))


def test_colour_becomes_luma_for_one_channel(tmp_path: Path) -> None:
    pixels = noise(0, 5, 7, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2
    np.testing.assert_allclose(decode_file(tmp_path / "a.png", 1)[:, :, 0], luma, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_of_a_tiff_decodes(tmp_path: Path, mode: str, channels: int) -> None:
    Image.fromarray(noise(0, 6, 4, 3)).convert("L" if mode == "I;16" else "RGB").convert(mode).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as file:
        assert file.mode == mode
    pixels = decode_file(tmp_path / "a.tif", channels)
    assert pixels.shape == (6, 4, channels)
    assert pixels.dtype == np.uint8
    assert len(np.unique(pixels)) > 1


@pytest.mark.parametrize("highest", [300, 4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_spans_its_own_range(tmp_path: Path, highest: int, suffix: str) -> None:
    Image.fromarray(np.rint(RAMP * highest).astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(decode_file(tmp_path / f"a.{suffix}", 1)[:, :, 0], RAMP * 255, atol=1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_below_zero_are_stretched_too(tmp_path: Path, dtype: type) -> None:
    values = (RAMP * 2000 - 1000).astype(dtype)  # as in Hounsfield units
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_allclose(decode_file(tmp_path / "a.tif", 1)[:, :, 0], RAMP * 255, atol=1)


def test_a_constant_deep_image_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 900, dtype=np.uint16)).save(tmp_path / "a.png")
    assert not decode_file(tmp_path / "a.png", 1).any()


def test_a_value_that_is_not_finite_is_refused_with_the_path(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"{tmp_path}/a\.tif cannot be decoded: it holds values that are not finite"):
        decode_file(tmp_path / "a.tif", 1)


def test_alpha_is_dropped_and_colours_stay(tmp_path: Path) -> None:
    pixels = noise(0, 5, 7, 4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", 3), pixels[:, :, :3])


def test_palette_colours_are_looked_up_also_below_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    assert decode_file(tmp_path / "a.png", 3).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_a_cmyk_jpeg_shows_its_colour(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(decode_file(tmp_path / "a.jpg", 3)[8, 8], [200, 40, 90], atol=4)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, 3), (3, 2), (8, 1)])
def test_an_image_stands_upright_as_exif_says(tmp_path: Path, orientation: int, turns: int) -> None:
    pixels = noise(0, 6, 4, 3)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", 3), np.rot90(pixels, turns))


def test_the_first_of_several_frames_is_taken(tmp_path: Path) -> None:
    first, second = noise(1, 4, 4), noise(2, 4, 4)
    Image.fromarray(first).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(second)])
    np.testing.assert_array_equal(decode_file(tmp_path / "a.tif", 1)[:, :, 0], first)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_file_cut_short_is_named_with_its_full_path(tmp_path: Path, suffix: str) -> None:
    path = draw(tmp_path / f"a.{suffix}", 0, height=64, width=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"image {path} cannot be decoded"):
        decode_file(path, 3)


@pytest.mark.parametrize("content", [b"", b"this is no image", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_file_that_is_no_image_is_named_with_its_full_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=rf"image {tmp_path}/a\.png cannot be decoded"):
        decode_file(tmp_path / "a.png", 3)
