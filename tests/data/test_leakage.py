"""What parts share: against brute force, on made images and on real sets."""

import tracemalloc
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import pytest
from conftest import make_site
from PIL import Image
from scipy.fft import idctn
from scipy.spatial.distance import pdist

from sweeper.data import DATASETS, leakage
from sweeper.data.cache import cached
from sweeper.data.dataset import make_index
from sweeper.data.folds import split
from sweeper.data.leakage import HASH_BITS, SIMILAR, find_twins, leaks, twins_of

SIZE = 48


def _smooth(seed: int, size: int = SIZE) -> np.ndarray:
    """A colour image of a few blobs, uint8 (size, size, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _noisy(image: np.ndarray, sd: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sd, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """40 different images; then 3 copies of 0 to 2, and 3 noisy ones of 3 to 5."""
    different = [_smooth(seed) for seed in range(40)]
    return np.stack([*different, *different[:3], *(_noisy(image, 3) for image in different[3:6])])


def _found(pixels: np.ndarray, *, equal: bool) -> set[tuple[int, int]]:
    twins = find_twins(pixels)
    return set(map(tuple, twins.loc[(twins["bits"] < 0) == equal, ["row", "twin"]].to_numpy().tolist()))


def test_equal_images_are_found_and_no_others(pixels: np.ndarray) -> None:
    assert _found(pixels, equal=True) == {(0, 40), (1, 41), (2, 42)}


def test_noisy_copies_are_near_duplicates_and_different_images_are_not(pixels: np.ndarray) -> None:
    assert _found(pixels, equal=False) == {(3, 43), (4, 44), (5, 45)}


def test_grey_images_are_compared_as_well(pixels: np.ndarray) -> None:
    grey = pixels[..., :1]
    assert _found(grey, equal=True) == {(0, 40), (1, 41), (2, 42)}
    assert _found(grey, equal=False) == {(3, 43), (4, 44), (5, 45)}


def test_a_copy_in_jpeg_is_a_near_duplicate(tmp_path: Path) -> None:
    Image.fromarray(_smooth(1)).save(tmp_path / "copy.jpeg", quality=80)
    copy = np.asarray(Image.open(tmp_path / "copy.jpeg"))
    assert _found(np.stack([_smooth(0), _smooth(1), copy]), equal=False) == {(1, 2)}


def test_near_duplicates_are_those_of_a_comparison_of_all_pairs() -> None:
    """Images that drift apart step by step, judged by imagehash's own distance and numpy's own correlation."""
    rng = np.random.default_rng(5)
    pixels = np.stack([_noisy(_smooth(seed), sd, seed) for seed in range(12) for sd in rng.uniform(0, 25, 6)])
    grey = [np.asarray(Image.fromarray(each).convert("L"), dtype=float).ravel() for each in pixels]
    hashes = [imagehash.phash(Image.fromarray(each)) for each in pixels]
    expected = {
        (one, other)
        for one, other in combinations(range(len(pixels)), 2)
        if hashes[one] - hashes[other] <= HASH_BITS and np.corrcoef(grey[one], grey[other])[0, 1] > SIMILAR
    }
    assert 0 < len(expected) < 12 * 15
    assert _found(pixels, equal=False) == expected


@pytest.mark.parametrize("side", [7, 28, 64])
def test_outlines_are_never_farther_apart_than_the_images(side: int) -> None:
    images = np.stack([_noisy(_smooth(seed, side)[..., 0], sd, seed) for seed in range(10) for sd in (0, 2, 30)])
    whole = images.reshape(len(images), -1).astype(float)
    whole -= whole.mean(axis=1, keepdims=True)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    outlines = np.stack([leakage._outline(each.reshape(-1)) for each in images])
    apart, apart_outlined = pdist(whole), pdist(outlines.astype(float))
    assert (apart_outlined <= apart + 1e-6).all()
    assert (apart_outlined[apart > 1] > 0.5 * apart[apart > 1]).all()


def test_many_images_of_one_hash_take_no_memory_for_their_pairs() -> None:
    """The hash says which of the 64 slowest waves are stronger than their median, and not by how much."""
    rng = np.random.default_rng(3)
    waves = np.zeros((1000, 32, 32))
    waves[:, :8, :8] = rng.permutation([1, -1] * 32).reshape(8, 8) * rng.uniform(1, 2, (1000, 8, 8))
    pixels = (128 + 100 * idctn(waves, axes=(1, 2), norm="ortho") / 4).clip(0, 255).astype(np.uint8)[..., None]
    assert len({str(imagehash.phash(Image.fromarray(each[..., 0]))) for each in pixels[:100]}) == 1
    tracemalloc.start()
    found = find_twins(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.empty
    assert peak < 10e6  # half a million pairs as three numbers are 12 MB


def test_constant_images_are_no_near_duplicates_of_each_other() -> None:
    pixels = np.stack([np.full((16, 16, 1), value, np.uint8) for value in (0, 0, 90, 200)])
    assert _found(pixels, equal=True) == {(0, 1)}
    assert _found(pixels, equal=False) == set()


def _index(images: int) -> pd.DataFrame:
    return make_index((f"{number:02d}", "a", f"{number:02d}", None) for number in range(images))


def _parts(images: int, **own: list[int]) -> pd.Series:
    parts = pd.Series("unused", index=range(images))
    for part, rows in own.items():
        parts[rows] = part
    return parts


def test_a_split_that_keeps_twins_together_leaks_nothing(pixels: np.ndarray) -> None:
    parts = _parts(46, train=[*range(3), *range(40, 43)], val=[3, 4, 5, 43, 44, 45], test=list(range(6, 40)))
    assert leaks(_index(46), parts, find_twins(pixels)) == []


def test_leaks_are_counted_by_part_with_their_first_images(pixels: np.ndarray) -> None:
    parts = _parts(46, train=list(range(40)), val=[40, 43, 44], test=[41, 42, 45])
    found = {
        (each.kind, each.part, each.other): (each.images, each.first)
        for each in leaks(_index(46), parts, find_twins(pixels))
    }
    assert found == {
        ("identical", "val", "train"): (1, ("40", "00")),
        ("near", "val", "train"): (2, ("43", "03")),
        ("identical", "test", "train"): (2, ("41", "01")),
        ("near", "test", "train"): (1, ("45", "05")),
    }


def test_a_copy_of_a_near_duplicate_leaks_as_that_does() -> None:
    image, like = _smooth(1), _noisy(_smooth(1), 3)
    pixels = np.stack([image, image, like, like])
    (found,) = leaks(_index(4), _parts(4, train=[1], test=[3]), find_twins(pixels))
    assert (found.kind, found.images, found.first) == ("near", 1, ("03", "01"))


def test_unused_images_share_nothing(pixels: np.ndarray) -> None:
    assert leaks(_index(46), _parts(46, train=[0, 3], test=[10]), find_twins(pixels)) == []


def test_patients_in_two_parts_are_found() -> None:
    index = make_index((f"{number}", "a", f"p{number // 3}", None) for number in range(9))
    (found,) = leaks(
        index, _parts(9, train=[0, 1, 2, 3], test=[4, 5, 6, 7, 8]), find_twins(np.stack([_smooth(n) for n in range(9)]))
    )
    assert (found.kind, found.images, found.first) == ("patient", 2, ("4", "3"))
    assert str(found) == "2 images of test with a patient in train (first: 4 and 3)"


def test_twins_are_kept_in_the_entry_of_the_cache(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    whole = cached(DATASETS["digits"], 8, site)
    found = twins_of(whole)
    (kept,) = site.cache.glob("digits-8-*/twins-*.parquet")
    made = kept.stat().st_mtime_ns
    assert twins_of(whole).equals(found)
    assert kept.stat().st_mtime_ns == made
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("size", [8, 16])
def test_different_digits_are_no_false_alarm(tmp_path: Path, size: int) -> None:
    assert find_twins(cached(DATASETS["digits"], size, make_site(tmp_path)).pixels).empty


@pytest.mark.parametrize(("name", "size", "equal"), [("chest_xray", 64, 1), ("pneumoniamnist", 28, 29)])
def test_aligned_x_rays_raise_no_false_alarm(
    tmp_path: Path, shared_data: Path, name: str, size: int, equal: int
) -> None:
    """What is equal was counted by comparing the bytes of the pixels."""
    pixels = cached(DATASETS[name], size, make_site(tmp_path, shared_data)).pixels
    assert len(pixels) - len({each.tobytes() for each in pixels}) == equal
    assert len(_found(pixels, equal=True)) == equal
    assert _found(pixels, equal=False) == set()


def test_a_photograph_that_was_uploaded_twice_is_found(tmp_path: Path, shared_data: Path) -> None:
    whole = cached(DATASETS["flower_photos"], 128, make_site(tmp_path, shared_data))
    found = leaks(whole.index, split(whole.index, fold=1, name="flower_photos"), twins_of(whole))
    assert {each.kind for each in found} == {"identical", "near"}
    near = next(each for each in found if each.kind == "near")
    assert set(near.first) == {"daisy/10993710036_2033222c91.jpg", "daisy/10993818044_4c19b86c82.jpg"}
