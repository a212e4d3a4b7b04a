"""Rows of arrays in .npz files, against numpy's own reading."""

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeper.data.npz import Rows

SAVED = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
LONG = np.random.default_rng(0).integers(0, 24, (600, 100, 200), dtype=np.uint8)
"""12 MB, which do not pack to nothing: several marks."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("npz") / "long.npz"
    np.savez_compressed(path, before=np.arange(5), rows=LONG, after=np.arange(7))
    return path


@SAVED
@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 4, 3), (1,), (4, 0)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">i2"])
def test_each_row_is_numpy_s(tmp_path: Path, save: Callable, shape: tuple[int, ...], dtype: str) -> None:
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    save(tmp_path / "a.npz", other=np.ones(9), rows=expected)
    rows = Rows(tmp_path / "a.npz", "rows")
    assert (rows.shape, rows.dtype, len(rows)) == (shape, np.dtype(dtype), shape[0])
    np.testing.assert_array_equal(np.stack([rows[number] for number in range(len(rows))]), expected)


@pytest.mark.parametrize("seed", range(3))
def test_rows_may_be_read_in_any_order(long: Path, seed: int) -> None:
    rows = Rows(long, "rows")
    for number in np.random.default_rng(seed).integers(0, len(LONG), 40).tolist():
        np.testing.assert_array_equal(rows[number], LONG[number])


def test_rows_are_read_backwards(long: Path) -> None:
    rows = Rows(long, "rows")
    for number in range(len(LONG) - 1, -1, -7):
        np.testing.assert_array_equal(rows[number], LONG[number])


def test_a_pass_takes_little_memory(long: Path) -> None:
    rows = Rows(long, "rows")
    tracemalloc.start()
    total = sum(int(rows[number].sum()) for number in range(len(rows)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == LONG.sum()
    assert peak < LONG.nbytes / 6


@SAVED
def test_a_row_beyond_the_last_is_refused(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "a.npz", rows=np.zeros((3, 2)))
    for row in (3, -1):
        with pytest.raises(IndexError, match=f"there is no row {row}; it has 3"):
            Rows(tmp_path / "a.npz", "rows")[row]


def test_a_missing_array_is_named(long: Path) -> None:
    with pytest.raises(KeyError, match=r"columns\.npy"):
        Rows(long, "columns")


@pytest.mark.parametrize("array", [np.asfortranarray(np.ones((3, 4))), np.array([{}, {}], dtype=object)])
def test_what_is_not_stored_row_after_row_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", rows=array)
    with pytest.raises(ValueError, match="no array of numbers, row after row; save it again"):
        Rows(tmp_path / "a.npz", "rows")


def test_another_packing_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((3, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.write(tmp_path / "rows.npy", "rows.npy")
    with pytest.raises(ValueError, match="packed by method 14; save it with"):
        Rows(tmp_path / "a.npz", "rows")


def test_a_damage_that_unpacks_is_found_by_the_checksum_at_the_end_of_a_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.save(tmp_path / "rows.npy", np.arange(100_000, dtype=np.uint32).reshape(100, 1000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        archive.write(tmp_path / "rows.npy", "rows.npy")
    there = np.arange(90_000, 90_004, dtype=np.uint32)
    path.write_bytes(path.read_bytes().replace(there.tobytes(), (there + 1).tobytes(), 1))
    rows = Rows(path, "rows")
    np.testing.assert_array_equal(rows[90][:5], [90_001, 90_002, 90_003, 90_004, 90_004])
    with pytest.raises(ValueError, match="its checksum is wrong: the file is damaged"):
        rows[99]


@SAVED
def test_an_array_that_is_shorter_than_its_shape_is_refused(tmp_path: Path, save: Callable) -> None:
    save(tmp_path / "a.npz", rows=np.ones((3, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        told = archive.read("rows.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("rows.npy", told[:-8])
    with pytest.raises(ValueError, match=r"its shape is \(3, 4\), which 88 bytes do not fill"):
        Rows(tmp_path / "b.npz", "rows")
