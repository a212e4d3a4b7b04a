"""The decode-once cache, with real processes."""

import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
from processes import tree

from sweeper.data import DATASETS, Dataset, decoding
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


def _break(pets: Path) -> Path:
    (pets / "dog" / "001.png").write_bytes(b"nothing")
    return pets / "dog" / "001.png"


def _refused(dataset: Dataset, site: Site, name: str = "dog/001.png") -> None:
    with pytest.raises(ValueError, match=rf"image {site.data / 'pets' / name} cannot be decoded"):
        cached(dataset, 5, site)


def test_a_corrupt_image_is_named_and_nothing_looks_whole(site: Site, pets: Path) -> None:
    _break(pets)
    _refused(PETS, site)
    assert [path.suffix for path in site.cache.iterdir() if path.is_dir()] == [".unfinished"]


@pytest.mark.parametrize("mend", [lambda path: draw(path, 3), lambda path: path.unlink()], ids=["replaced", "removed"])
def test_after_a_corrupt_image_the_others_are_not_decoded_again(
    site: Site, pets: Path, tmp_path: Path, mend: Callable[[Path], Any]
) -> None:
    broken = _break(pets)
    _refused(_counting(tmp_path), site)
    mend(broken)
    found = cached(_counting(tmp_path), 5, site)
    assert _decodings(tmp_path) == 6 + 2 * broken.exists() + (not broken.exists())
    assert found.fingerprint == cached(PETS, 5, make_site(tmp_path / "anew", site.data)).fingerprint
    assert [path.suffix for path in site.cache.iterdir() if path.is_dir()] == [""]


def test_an_image_that_changed_while_its_build_was_broken_off_is_decoded_again(site: Site, pets: Path) -> None:
    broken = _break(pets)
    _refused(PETS, site)
    for path in (broken, pets / "cat" / "000.png"):
        draw(path, 99)
    cached(PETS, 5, site)
    assert cached(PETS, 5, site).fingerprint == cached(PETS, 5, make_site(site.cache, site.data)).fingerprint


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


def test_a_data_set_that_no_other_process_can_read_is_decoded_here(site: Site, pets: Path, apart: None) -> None:
    found = cached(replace(PETS, decode=lambda root, image: PETS.decode(root, image)), 5, site)
    assert found.fingerprint == cached(PETS, 5, make_site(site.cache, site.data)).fingerprint


def _note_process(folder: Path, root: Path, image: str) -> np.ndarray:
    (folder / "by").mkdir(exist_ok=True)
    (folder / "by" / str(os.getpid())).touch()
    print(f"{image} goes where answers go")
    return PETS.decode(root, image)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is decoded in processes of their own, from the first image on."""
    monkeypatch.setattr(decoding, "_SECONDS_HERE", -1)
    monkeypatch.setattr(decoding, "_SECONDS_WORTH", -1)


def test_what_other_processes_decode_is_what_this_one_does(site: Site, pets: Path, tmp_path: Path, apart: None) -> None:
    noted = replace(PETS, decode=partial(_note_process, tmp_path))
    found = cached(noted, 5, site)
    by = {path.name for path in (tmp_path / "by").iterdir()}
    assert str(os.getpid()) not in by
    for image, pixels in zip(found.index["image"], found.pixels, strict=True):
        with Image.open(pets / image) as file:
            np.testing.assert_array_equal(pixels, np.asarray(file.resize((5, 5), Image.Resampling.BILINEAR)))


def test_decoding_processes_end_with_the_build(site: Site, pets: Path, apart: None) -> None:
    cached(PETS, 5, site)
    assert [each for each in tree(os.getpid())[1:] if "decoding" in " ".join(each.command)] == []


def test_an_image_that_another_process_cannot_decode_is_named_and_the_others_stay(
    site: Site, pets: Path, tmp_path: Path, apart: None
) -> None:
    broken = _break(pets)
    _refused(_counting(tmp_path), site)
    before = _decodings(tmp_path)
    draw(broken, 3)
    cached(_counting(tmp_path), 5, site)
    assert before <= _decodings(tmp_path) <= 8


def _die(root: Path, image: str) -> np.ndarray:
    if image == "dog/001.png" and not (root / "spare").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return PETS.decode(root, image)


def test_a_decoding_process_that_is_killed_is_told_and_the_next_try_goes_on(
    site: Site, pets: Path, apart: None
) -> None:
    with pytest.raises(RuntimeError, match="a process that decodes images ended with code -9 at rows 5 to 5"):
        cached(replace(PETS, decode=_die), 5, site)
    (site.data / "spare").touch()
    found = cached(replace(PETS, decode=_die), 5, site)
    assert found.fingerprint == cached(PETS, 5, make_site(site.cache, site.data)).fingerprint


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_can_be_decoded_by_other_processes(name: str) -> None:
    assert b"__main__" not in pickle.dumps(DATASETS[name].decode)


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from conftest import make_site
from sweeper.data import DATASETS
from sweeper.data.cache import cached

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    cached(DATASETS["folder:pets"], 200, make_site(folder))
except OSError as error:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(cached(DATASETS["folder:pets"], 200, make_site(folder)).fingerprint)
"""


def test_a_full_disk_is_an_error_and_the_next_try_goes_on(site: Site, pets: Path, tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", _FULL_DISK, str(tmp_path)], env=_environment(), capture_output=True)
    expected = cached(PETS, 200, make_site(tmp_path / "anew", site.data)).fingerprint
    assert found.stdout.decode().split() == ["refused", expected], found.stderr.decode()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


_STUCK_BUILDER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from conftest import make_site
from sweeper.data import DATASETS, building
from sweeper.data.cache import cached

building._SECONDS_BETWEEN_LOGS = 0
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
    builder = subprocess.Popen([sys.executable, "-c", _STUCK_BUILDER, str(tmp_path)], env=_environment())
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


def _same_files(one: Path, other: Path) -> bool:
    names = [{path.name for path in folder.iterdir()} for folder in (one, other)]
    same = names[0] == names[1] == {"pixels.npy", "index.parquet", "meta.json"}
    return same and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def _entry(cache: Path) -> Path:
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    return entry


def test_what_a_killed_builder_decoded_is_not_decoded_again(
    killed: Path, site: Site, pets: Path, tmp_path: Path
) -> None:
    cached(_counting(tmp_path), 5, site)
    assert _decodings(tmp_path) == 1


def test_after_a_killed_builder_the_entry_is_to_the_bit_what_it_would_have_been(
    killed: Path, site: Site, pets: Path, tmp_path: Path
) -> None:
    anew = make_site(tmp_path / "anew", site.data)
    for each in (site, anew):
        cached(PETS, 5, each)
    assert _same_files(_entry(killed), _entry(anew.cache))


def test_a_line_of_the_log_that_a_power_cut_tore_counts_for_nothing(killed: Path, site: Site, tmp_path: Path) -> None:
    with (_entry(killed) / "done.log").open("a") as file:
        file.write("6 7")  # without its end
    cached(_counting(tmp_path), 5, site)
    assert (tmp_path / "decoded").read_text() == "dog/002.png\n"


_SLOW_BUILDER = """
import sys
from pathlib import Path
from conftest import make_site
from sweeper.data import DATASETS, building, decoding
from sweeper.data.cache import cached
from test_image_cache import slowly

building._SECONDS_BETWEEN_LOGS, decoding._SECONDS_HERE, decoding._SECONDS_WORTH = 0.05, 0.05, 0
cached(slowly(), 5, make_site(Path(sys.argv[1])))
"""


def _slow(root: Path, image: str) -> np.ndarray:
    time.sleep(0.02)
    return PETS.decode(root, image)


def slowly() -> Dataset:
    return replace(PETS, decode=_slow)


def _rows_done(cache: Path) -> int:
    lines = [line.split() for path in cache.glob("*.unfinished/done.log") for line in path.read_text().splitlines()]
    return sum(int(line[1]) - int(line[0]) for line in lines if len(line) == 2)


def _built(folder: Path, cache: Path, rows: int) -> bool:
    """Whether a builder finished; else it was killed when it had done that many rows or more."""
    until = _rows_done(cache) + rows
    builder = subprocess.Popen([sys.executable, "-c", _SLOW_BUILDER, str(folder)], env=_environment())
    while builder.poll() is None and _rows_done(cache) < until:
        time.sleep(0.01)
    if builder.poll() is not None:
        assert builder.returncode == 0
        return True
    decoders = tree(builder.pid)
    builder.kill()
    builder.wait()
    deadline = time.monotonic() + 60
    while any(each.alive for each in decoders) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(each.alive for each in decoders)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_build_that_is_killed_again_and_again_ends_to_the_bit_as_an_undisturbed_one(
    site: Site, tmp_path: Path, seed: int
) -> None:
    write_classes(site.data / "pets", {"cat": 100, "dog": 100})
    draws, kills = random.Random(seed), 0
    while not _built(tmp_path, site.cache, draws.randint(1, 60)):
        kills += 1
    anew = make_site(tmp_path / "anew", site.data)
    cached(PETS, 5, anew)
    assert kills >= 1
    assert _same_files(_entry(site.cache), _entry(anew.cache))


def test_the_cache_needs_no_torch() -> None:
    program = "import sys, sweeper.data.cache, sweeper.data.folds; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
