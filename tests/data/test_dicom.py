"""DICOM files as pictures."""

from pathlib import Path

import numpy as np
import pytest
from fakes import noise
from fakes.cbis_ddsm import write_dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

from sweeper.data.dicom import window
from sweeper.data.picture import decode_file

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def _decoded(path: Path) -> np.ndarray:
    return decode_file(path, 1)[:, :, 0]


def test_eight_bits_stay_as_they_are_stored(tmp_path: Path) -> None:
    pixels = noise(0, 6, 4) // 2
    np.testing.assert_array_equal(_decoded(write_dicom(tmp_path / "a.dcm", pixels)), pixels)


def test_sixteen_bits_span_their_own_range(tmp_path: Path) -> None:
    expected = RAMP * (255 / 4095)
    np.testing.assert_allclose(_decoded(write_dicom(tmp_path / "a.dcm", RAMP)), expected, atol=0.5)


def test_signed_values_span_their_own_range(tmp_path: Path) -> None:
    values = RAMP.astype(np.int16) - 1000
    expected = RAMP * (255 / 4095)
    np.testing.assert_allclose(_decoded(write_dicom(tmp_path / "a.dcm", values)), expected, atol=0.5)


def test_monochrome1_is_monochrome2_inverted(tmp_path: Path) -> None:
    one = write_dicom(tmp_path / "1.dcm", RAMP, "MONOCHROME1", WindowCenter=1000, WindowWidth=800)
    two = write_dicom(tmp_path / "2.dcm", RAMP, "MONOCHROME2", WindowCenter=1000, WindowWidth=800)
    np.testing.assert_array_equal(_decoded(one), 255 - _decoded(two))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(40.5, 400), (-500, 1500), (0, 20)])
def test_a_window_is_pydicoms_own(function: str, centre: float, width: float) -> None:
    values = np.arange(-1024, 1024, dtype=np.int16).reshape(32, 64)
    facts = Dataset()
    facts.WindowCenter, facts.WindowWidth, facts.VOILUTFunction = centre, width, function
    facts.PhotometricInterpretation, facts.BitsStored, facts.PixelRepresentation = "MONOCHROME2", 12, 0
    expected = apply_voi_lut(values, facts) * (255 / 4095)
    np.testing.assert_allclose(window(values, centre, width, function), expected, atol=0.51)


def test_the_window_applies_to_rescaled_values(tmp_path: Path) -> None:
    facts = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": [40, 9], "WindowWidth": [400, 9]}
    path = write_dicom(tmp_path / "a.dcm", RAMP, **facts)
    np.testing.assert_array_equal(_decoded(path), window(RAMP * 2.0 - 1024, 40, 400))


def test_eight_bits_that_are_rescaled_span_their_own_range(tmp_path: Path) -> None:
    pixels = np.array([[10, 20], [30, 60]], dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=3, RescaleIntercept=5)
    assert _decoded(path).tolist() == [[0, 51], [102, 255]]


def test_a_lookup_table_of_the_file_is_used(tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 8])
    table.add_new("LUTData", "US", [200, 100, 50, 0])
    pixels = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[table])
    assert _decoded(path).tolist() == [[200, 100], [50, 0]]


def test_colour_is_kept(tmp_path: Path) -> None:
    pixels = noise(0, 6, 4, 3)
    np.testing.assert_array_equal(decode_file(write_dicom(tmp_path / "a.dcm", pixels, "RGB"), 3), pixels)


def test_of_several_frames_the_first_is_taken(tmp_path: Path) -> None:
    frames = noise(0, 3, 6, 4)
    path = write_dicom(tmp_path / "a.dcm", frames[0])
    dicom = dcmread(path)
    dicom.NumberOfFrames, dicom.PixelData = 3, frames.tobytes()
    dicom.save_as(path)
    np.testing.assert_array_equal(_decoded(path), frames[0])


def test_the_committed_files_of_pydicom_decode() -> None:
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("CT_small.dcm")))
    pixels = _decoded(path)
    assert pixels.shape == (128, 128)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_window_without_width_is_refused_with_the_path(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=10, WindowWidth=0)
    with pytest.raises(ValueError, match=rf"image {path} cannot be decoded: its window has the width 0"):
        decode_file(path, 1)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_named(tmp_path: Path, kept: float) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"image {path} cannot be decoded: .*; replace it by a sound copy"):
        decode_file(path, 1)
