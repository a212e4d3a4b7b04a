"""The decode-once cache, with real processes."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_site
from fakes import draw, write_classes, write_fake
from PIL import Image

from sweeper.data import DATASETS, Dataset
from sweeper.data.cache import cached
from sweeper.site import Site

PETS = DATASETS["folder:pets"]


@pytest.fixture
def pets(site: Site) -> Path:
    write_classes(site.data / "pets", {"cat": 4, "dog": 3})
    return site.data / "pets"


def _noted(folder: Path, root: Path, image: str) -> np.ndarray:
    """Decodes, and leaves a trace that any process can count."""
    with (folder / "decoded").open("a") as file:
        file.write(f"{image}\n")
    return PETS.decode(root, image)


def _counting(folder: Path) -> Dataset:
    return replace(PETS, decode=partial(_noted, folder))


def _decodings(folder: Path) -> int:
    return len((folder / "decoded").read_text().splitlines())


def test_pixels_are_those_of_pillows_own_resize(site: Site, pets: Path) -> None:
    found = cached(PETS, 5, site)
    for image, pixels in zip(found.index["image"], found.pixels, strict=True):
        with Image.open(pets / image) as file:
            np.testing.assert_array_equal(pixels, np.asarray(file.resize((5, 5), Image.Resampling.BILINEAR)))


def test_grey_pixels_are_those_of_pillows_own_resize(site: Site) -> None:
    write_fake("medical_mnist_64", site.data)
    found = cached(DATASETS["medical_mnist_64"], 16, site)
    for image, pixels in zip(found.index["image"], found.pixels, strict=True):
        with Image.open(site.data / "medical_mnist_64" / image) as file:
            grey = np.asarray(file.resize((16, 16), Image.Resampling.BILINEAR))
            np.testing.assert_array_equal(pixels[:, :, 0], grey)


def test_the_pixels_are_a_read_only_memory_map(site: Site, pets: Path) -> None:
    found = cached(PETS, 5, site)
    assert isinstance(found.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0] = 0


def test_the_index_is_sorted_and_counts_its_classes(site: Site, pets: Path) -> None:
    index = cached(PETS, 5, site).index
    assert list(index["image"]) == sorted(index["image"])
    assert list(index["target"]) == [0, 0, 0, 0, 1, 1, 1]
    assert index["target"].dtype == np.int64


def test_a_stored_index_is_the_one_that_was_read(site: Site) -> None:
    write_fake("chest_xray", site.data)
    dataset = DATASETS["chest_xray"]
    assert cached(dataset, 5, site).index.drop(columns="target").equals(dataset.index(site.data))


def test_images_are_decoded_once(site: Site, pets: Path, tmp_path: Path) -> None:
    for _ in range(3):
        cached(_counting(tmp_path), 5, site)
    assert _decodings(tmp_path) == 7


def test_each_size_is_an_entry_of_its_own(site: Site, pets: Path) -> None:
    assert [cached(PETS, size, site).pixels.shape for size in (5, 8)] == [(7, 5, 5, 3), (7, 8, 8, 3)]


def test_a_changed_image_is_decoded_again(site: Site, pets: Path) -> None:
    before = cached(PETS, 5, site)
    file = draw(pets / "cat" / "000.png", 77)
    os.utime(file, ns=(0, 0))  # whatever the clock's resolution
    after = cached(PETS, 5, site)
    assert not np.array_equal(before.pixels[0], after.pixels[0])
    np.testing.assert_array_equal(before.pixels[1:], after.pixels[1:])


def test_a_new_image_is_found(site: Site, pets: Path) -> None:
    cached(PETS, 5, site)
    draw(pets / "dog" / "new.png", 77)
    assert "dog/new.png" in set(cached(PETS, 5, site).index["image"])


def test_a_changed_npz_file_is_decoded_again(site: Site) -> None:
    write_fake("breastmnist", site.data)
    before = cached(DATASETS["breastmnist"], 5, site)
    file = site.data / "medmnist" / "breastmnist.npz"
    with np.load(file) as old:
        arrays = dict(old)
    np.savez_compressed(file, **arrays | {"test_images": 255 - arrays["test_images"]})
    os.utime(file, ns=(0, 0))
    after = cached(DATASETS["breastmnist"], 5, site)
    assert before.fingerprint != after.fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_images_lie(site: Site, pets: Path, tmp_path: Path) -> None:
    shutil.copytree(pets, tmp_path / "other" / "data" / "pets")
    other = make_site(tmp_path / "other")
    assert cached(PETS, 5, site).fingerprint == cached(PETS, 5, other).fingerprint


def test_the_fingerprint_does_not_depend_on_the_name_of_the_set(site: Site, pets: Path) -> None:
    absolute = DATASETS[f"folder:{pets}"]
    assert cached(PETS, 5, site).fingerprint == cached(absolute, 5, site).fingerprint


@pytest.mark.parametrize("change", ["pixel", "label", "size"])
def test_the_fingerprint_changes_with_the_images(site: Site, pets: Path, change: str) -> None:
    before = cached(PETS, 5, site).fingerprint
    if change == "pixel":
        draw(pets / "cat" / "000.png", 77)
        os.utime(pets / "cat" / "000.png", ns=(0, 0))
    if change == "label":
        (pets / "cat" / "000.png").rename(pets / "dog" / "zzz.png")
    assert cached(PETS, 6 if change == "size" else 5, site).fingerprint != before


def test_the_digits_have_the_fingerprint_they_always_had(site: Site) -> None:
    assert cached(DATASETS["digits"], 8, site).fingerprint == "917c3a772f287f37"


def test_a_corrupt_image_is_named_and_nothing_is_kept(site: Site, pets: Path) -> None:
    (pets / "dog" / "001.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=rf"image {pets}/dog/001\.png cannot be decoded"):
        cached(PETS, 5, site)
    assert [path for path in site.cache.iterdir() if path.is_dir()] == []


def test_a_folder_name_of_any_letters_makes_one_entry(site: Site) -> None:
    write_classes(site.data / "mein Ordner" / "犬", {"cat": 2, "dog": 2})
    cached(DATASETS["folder:mein Ordner/犬"], 5, site)
    (entry,) = (path for path in site.cache.iterdir() if path.is_dir())
    assert entry.name.startswith("folder_mein_Ordner_")


def _decode_with_others(dataset: Dataset, site: Site, start: Barrier, answers: Any) -> None:
    start.wait()
    answers.put(cached(dataset, 5, site).fingerprint)


def test_processes_that_want_it_at_once_decode_it_once(site: Site, pets: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(3), context.Queue()
    given = (_counting(tmp_path), site, start, answers)
    processes = [context.Process(target=_decode_with_others, args=given) for _ in range(3)]
    for process in processes:
        process.start()
    fingerprints = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(fingerprints) == 1
    assert _decodings(tmp_path) == 7


_STUCK_BUILDER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from conftest import make_site
from sweeper.data import DATASETS
from sweeper.data.cache import cached

folder, pets = Path(sys.argv[1]), DATASETS["folder:pets"]

def decode(root, image):
    if image == "dog/002.png":
        (folder / "stuck").touch()
        time.sleep(600)
    return pets.decode(root, image)

cached(replace(pets, decode=decode), 5, make_site(folder))
"""


@pytest.fixture
def killed(site: Site, pets: Path, tmp_path: Path) -> Path:
    """The cache folder after a process was killed while it decoded the last image."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    builder = subprocess.Popen([sys.executable, "-c", _STUCK_BUILDER, str(tmp_path)], env=environment)
    while not (tmp_path / "stuck").exists():
        assert builder.poll() is None
        time.sleep(0.02)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    return site.cache


def test_a_killed_builder_leaves_nothing_that_looks_whole(killed: Path) -> None:
    folders = [path.name for path in killed.iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert folders[0].endswith(".unfinished")


def test_after_a_killed_builder_the_next_one_builds_it_whole(killed: Path, site: Site, pets: Path) -> None:
    found = cached(PETS, 5, site)
    with Image.open(pets / "dog" / "002.png") as file:
        last = np.asarray(file.resize((5, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found.pixels[-1], last)
    (entry,) = (path for path in killed.iterdir() if path.is_dir())
    assert {path.name for path in entry.iterdir()} == {"pixels.npy", "index.parquet", "meta.json"}
    assert json.loads((entry / "meta.json").read_text())["fingerprint"] == found.fingerprint


def test_the_cache_needs_no_torch() -> None:
    program = "import sys, sweeper.data.cache, sweeper.data.folds; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
