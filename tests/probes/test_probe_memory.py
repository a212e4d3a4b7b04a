"""Peak memory of processes that make, and that compute, probes of 50,000 images."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import write_npz
from safetensors.numpy import save_file

from sweeper import Cka, Knn, ledger
from sweeper.cell import Cell, make_cell
from sweeper.pairing import Ask
from sweeper.probe_types import Probe
from sweeper.probes.asked import needed
from sweeper.probes.needs import Features, pieces
from sweeper.site import Site

pytestmark = pytest.mark.slow

WIDTH = 512
BLOCKS = 4
SCRIPT = """
import json, resource, sys
from pathlib import Path
import torch
sys.path[:0] = [sys.argv[2]]
from conftest import make_site
from sweeper import Cka, Knn, ledger
from sweeper.cell import Cell
from sweeper.data.loading import load
from sweeper.pairing import Ask
from sweeper.probes.answers import answer
from sweeper.probes.asked import needed
from sweeper.probes.making import make, tasks

torch.set_num_threads(1)
site, cell = make_site(Path(sys.argv[1])), Cell.from_json(sys.argv[3])
ask = Ask(probe=eval(sys.argv[5]), cell=cell)
runs = ledger.read(site, "probed").finished
load(cell.images, site)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[4] == "make":
    for task in tasks(needed(ask, runs, site), site):
        make(task, site, torch.device("cpu"))
    told = None
else:
    told = answer(ask, runs, site).rows["value"].tolist()
print(json.dumps([before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, told]))
"""


def stored(folder: Path, images: int, held: int = 1024) -> tuple[Site, Cell]:
    """A finished cell with so many training images of noise, and some to be tested; whole pieces of either."""
    from states import recorded_site

    counts = {"train": images, "val": 8, "test": held}
    write_npz(folder / "data" / "medmnist" / "pneumoniamnist.npz", classes=2, counts=counts)
    cell = make_cell(dataset="pneumoniamnist", model="cbr_mini", size=28)
    return recorded_site(folder, [cell])[0], cell


def told(site: Site, cell: Cell, what: str, probe: Probe) -> tuple[float, float, list[float]]:
    """Peak MiB of a process before and after, and the values."""
    given = [str(site.data.parent), str(Path(__file__).parents[1]), cell.to_json(), what, str(probe)]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *given], capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def write_pieces(site: Site, cell: Cell, probe: Probe) -> None:
    """Features of noise that share ten factors, as a wide model's actors would have left them."""
    runs = ledger.read(site, "probed").finished
    for number, need in enumerate(_needs(Ask(probe=probe, cell=cell), runs, site)):
        turn = np.random.default_rng(number).normal(size=(10, WIDTH)).astype(np.float32)
        for start, path in pieces(need, site):
            draw = np.random.default_rng((number, start))
            own = np.random.default_rng(start).normal(size=(1024, 10)).astype(np.float32) @ turn
            each = {f"{block}.0": own + draw.normal(size=own.shape).astype(np.float32) for block in range(BLOCKS)}
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(each, path)


def _needs(ask: Ask, runs: dict, site: Site) -> Iterator[Features]:
    yield from (need for need in needed(ask, runs, site) if isinstance(need, Features))


def test_what_makes_features_takes_no_more_for_ten_times_the_images(tmp_path: Path) -> None:
    peaks = []
    for images in (5_120, 51_200):
        site, cell = stored(tmp_path / str(images), images)
        before, after, _ = told(site, cell, "make", Cka(part="train"))
        peaks.append(after - before)
        print(f"making pieces of {images} images: {before:.0f} MiB before, {after:.0f} MiB at most")
    assert peaks[1] < peaks[0] + 48  # the mapped file of images is 37 MiB longer


def test_cka_of_many_images_takes_less_than_their_features(tmp_path: Path) -> None:
    images, probe = 51_200, Cka(part="train")
    site, cell = stored(tmp_path, images)
    write_pieces(site, cell, probe)
    before, after, values = told(site, cell, "answer", probe)
    print(f"CKA of {BLOCKS} blocks x {WIDTH} of {images} images: {before:.0f} MiB before, {after:.0f} MiB at most")
    assert all(0.5 < value < 1 for value in values)
    assert after - before < 2 * 4 * images * WIDTH / 2**20  # of one block of two states: 200 MiB


def test_k_nn_takes_no_more_for_a_bank_of_ten_times_the_images(tmp_path: Path) -> None:
    probe, peaks = Knn(part="test"), []
    for images in (5_120, 51_200):
        site, cell = stored(tmp_path / str(images), images)
        write_pieces(site, cell, probe)
        before, after, _ = told(site, cell, "answer", probe)
        peaks.append(after - before)
        print(f"k-NN of {BLOCKS} blocks x {WIDTH}, {images} in the bank: {before:.0f} MiB before, {after:.0f} at most")
    assert peaks[1] < peaks[0] + 48  # one block's features of the larger bank are 100 MiB
