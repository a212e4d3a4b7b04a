"""A set of MedMNIST at 224 pixels in its true form: more in one deflated file than a reader may hold."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

IMAGES = {"train": 1500, "val": 150, "test": 150}
"""Of 150 kB each, 270 MB; the official file has 107,180 of them."""
READER = '''
import json, sys
from pathlib import Path
from sweeper.data import DATASETS
from sweeper.data.cache import cached
from sweeper.data.npz import Rows
from sweeper.site import Site

def peak():
    """In kB, of this process alone: ru_maxrss begins with what the process had that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

place = Path(sys.argv[1])
site = Site(data=place, cache=place / "cache", storage=place, tracking="")
import pyarrow.parquet  # what reading and writing the index takes is not what is asked
before = peak()
found = cached(DATASETS["pathmnist_224"], 8, site)
firsts = [found.pixels[found.index["image"].tolist().index(f"{part}/000007")].tolist() for part in ("train", "test")]
print(json.dumps({"grown": peak() - before, "images": len(found.index), "firsts": firsts}))
'''


def _image(part: str, number: int) -> np.ndarray:
    """Four grey levels of noise, which pack to a quarter, on a level that tells images apart."""
    rng = np.random.default_rng([len(part), number])
    return rng.integers(0, 4, (224, 224, 3), dtype=np.uint8) + np.uint8(number % 250)


def _write(path: Path) -> None:
    """Image by image: this test takes no more memory than what it tests."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part, number in IMAGES.items():
            with archive.open(f"{part}_images.npy", "w") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (number, 224, 224, 3)}
                np.lib.format.write_array_header_1_0(file, header)
                for image in range(number):
                    file.write(_image(part, image).tobytes())
            with archive.open(f"{part}_labels.npy", "w") as file:
                np.lib.format.write_array(file, (np.arange(number) % 9).astype(np.uint8)[:, None])


@pytest.mark.slow
def test_pathmnist_at_224_pixels_is_decoded_in_a_fifth_of_its_size(tmp_path: Path) -> None:
    (tmp_path / "medmnist").mkdir()
    path = tmp_path / "medmnist" / "pathmnist_224.npz"
    _write(path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    path.unlink()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["images"] == sum(IMAGES.values())
    for pixels, part in zip(told["firsts"], ("train", "test"), strict=True):
        np.testing.assert_allclose(np.mean(pixels), _image(part, 7).mean(), atol=0.6)
    unpacked = sum(IMAGES.values()) * 224 * 224 * 3
    assert told["grown"] * 1024 < unpacked / 5
