"""Images a second that a pool of actors makes features of, through Ray Data, against one plain forward loop.

It prints and judges no time; it does insist that all ways make the same features. Run it as a script, or with
`pytest -m benchmark -n0 -s tests/benchmarks/bench_extraction.py`:

    python tests/benchmarks/bench_extraction.py [--model resnet18] [--size 64] [--images 10240] [--actors 1 2 4]

"Loop" is one process that sends batches of 256 through the same stored model and keeps the pooled outputs of its
blocks in lists: with one thread, and with as many as there are cores. "Actors" make all pieces of the same state and
images by `activations.made`, and write them. "Whole" counts from the call to the last piece, the start of the actors'
processes included; "flowing" from each actor's first piece on, when all are warm: the rate of a long pass. "Share" is
the flowing rate over actors x the loop of one thread; "of all cores" is the whole rate over the loop of all threads.
First, without Ray, a piece made in this process is compared with the loop by processor time.

    python tests/benchmarks/bench_extraction.py --study [--model cbr_mini] [--size 28] [--images 5000 50000]

runs a whole study of one cell of one epoch through the command, with k-NN, CKA and two kinds of CCA over all of so many
training images, and tells its wall time and the most memory that the driver and each process below it had of its own
(resident pages that are no file's, looked at ten times a second: what two processes share, as the images, counts in
none).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import ray
import torch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else Ray starts every worker through `uv run`
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from bench_loop import surroundings
from fakes import write_npz
from probes.states import recorded_site
from processes import Process, tree

from sweeper import Cka, models
from sweeper.cell import make_cell
from sweeper.data.loading import normalise
from sweeper.outcome import Devices
from sweeper.pairing import Ask
from sweeper.probes.activations import made
from sweeper.probes.asked import needed
from sweeper.probes.kept import of_block
from sweeper.probes.making import BATCH, make, tasks
from sweeper.probes.needs import CHUNK, Features, loaded, pieces
from sweeper.probes.tapped import Tapped
from sweeper.site import Site


def test_actors_against_a_plain_loop() -> None:
    main(["--images", "2048", "--size", "28", "--model", "cbr_mini", "--actors", "1", "2", "--repeats", "1"])


def main(arguments: list[str]) -> None:
    """Prints the images a second of each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, nargs="+", default=[10_240])
    parser.add_argument("--study", action="store_true", help="the memory of a whole study, for each number of images")
    parser.add_argument("--actors", type=int, nargs="*", default=[1, 2, 4], help="none: without Ray")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if chosen.study:
        print(f"\n{surroundings(torch.device('cpu'))}; {os.cpu_count()} cores")
        for images in chosen.images:
            with tempfile.TemporaryDirectory() as folder:
                _study(Path(folder), chosen.model, chosen.size, images)
        return
    (images,) = chosen.images
    print(f"\n{surroundings(torch.device('cpu'))}; {os.cpu_count()} cores; {chosen.repeats} repeats")
    with tempfile.TemporaryDirectory() as folder:
        site, need = _stored(Path(folder), chosen.model, chosen.size, images)
        alone = [_alone(site, need) for _ in range(2 + chosen.repeats)]
        print(f"pieces made in one process: {_told(alone)} of the loop's images by processor time")
        if chosen.actors:
            ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
        loops = {threads: [] for threads in dict.fromkeys((1, os.cpu_count() or 1))}
        rates: dict[int, list[tuple[float, float]]] = {actors: [] for actors in chosen.actors}
        for _ in range(chosen.repeats if chosen.actors else 0):
            for threads, found in loops.items():
                found.append(_loop(site, need, threads, min(images, 2048 * threads)))
            for actors, found in rates.items():
                found.append(_actors(site, need, actors, images))
        if not chosen.actors:
            return
        _compare(site, need)
        ray.shutdown()
    print(f"{chosen.model}, {images} images of {chosen.size} px, median (min to max) images a second")
    for threads, found in loops.items():
        print(f"  loop, {threads} threads     {_told(found)}")
    one, whole = (statistics.median(found) for found in (loops[1], loops[max(loops)]))
    for actors, found in rates.items():
        flowing, total = ([each[place] for each in found] for place in (0, 1))
        print(f"  {actors} actors, flowing   {_told(flowing)}, share {statistics.median(flowing) / (actors * one):.2f}")
        print(f"  {actors} actors, whole     {_told(total)}, of all cores {statistics.median(total) / whole:.2f}")


def _told(rates: list[float]) -> str:
    return f"{statistics.median(rates):8.2f} ({min(rates):.2f} to {max(rates):.2f})"


def _stored(folder: Path, model: str, size: int, images: int) -> tuple[Site, Features]:
    """A finished cell of a data set of noise, and its features of all training images."""
    cell = make_cell(dataset=_write(folder / "data", size, images), model=model, size=size)
    site, runs = recorded_site(folder, [cell])
    need, _ = needed(Ask(probe=Cka(part="train"), cell=cell), runs, site)
    assert isinstance(need, Features)
    loaded(cell.images, site)  # decoded before anything is timed
    return site, need


def _write(data: Path, size: int, images: int, held: int = 8) -> str:
    """The name of a data set of noise with so many training images."""
    name = "pneumoniamnist" if size == 28 else f"pneumoniamnist_{size}"
    counts = {"train": images, "val": held, "test": held}
    write_npz(data / "medmnist" / f"{name}.npz", classes=2, counts=counts, size=size)
    return name


STUDY = """
from sweeper import Cca, Cka, Knn, Sweep, grid
cells = grid(dataset="{name}", model="{model}", size={size}, epochs=1, batch_size=256)
probes = [Knn(), Cka(part="train"), Cca(part="train"), Cca(kind="mean", part="train")]
sweep = Sweep(name="memory", cells=cells, probes=probes)
"""


def _study(folder: Path, model: str, size: int, images: int) -> None:
    """Runs a study of one cell through the command, and tells its time and memory."""
    name = _write(folder / "data", size, images, held=images // 10)
    (folder / "study.py").write_text(STUDY.format(name=name, model=model, size=size))
    places = {each: str(folder / each.lower()) for each in ("DATA", "CACHE", "STORAGE")}
    known = {f"SWEEPER_{each}": path for each, path in places.items()} | {"RAY_ADDRESS": "local"}
    began = time.perf_counter()
    with (folder / "said.txt").open("w") as said:
        command = [sys.executable, "-m", "sweeper.run", str(folder / "study.py")]
        kept = {each: value for each, value in os.environ.items() if each != "MLFLOW_TRACKING_URI"}
        driver = subprocess.Popen(command, env=kept | known, stdout=said, stderr=said)
        peaks: dict[str, dict[int, int]] = defaultdict(dict)
        while driver.poll() is None:
            for process in tree(driver.pid):
                own = peaks["driver" if process.pid == driver.pid else _title(process)]
                own[process.pid] = max(own.get(process.pid, 0), _own_bytes(process))
            time.sleep(0.1)
    if driver.returncode:
        raise RuntimeError((folder / "said.txt").read_text())
    print(f"a study of {model} on {images} images of {size} px: {time.perf_counter() - began:.0f} s")
    for title, found in sorted(peaks.items()):
        each = [peak / 2**20 for peak in found.values()]
        if title == "driver" or title.startswith("ray::"):
            print(f"  {title:28} {len(each):2} processes, at most {max(each):6.0f} MiB")


def _title(process: Process) -> str:
    return (process.command or [""])[0].split("(")[0]


def _own_bytes(process: Process) -> int:
    """Resident memory that is no file's, 0 when the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def _loop(site: Site, need: Features, threads: int, images: int) -> float:
    """Images a second of a plain loop."""
    torch.set_num_threads(threads)
    kept = _plain(site, need, 256)
    began = time.perf_counter()
    kept = _plain(site, need, images)
    seconds = time.perf_counter() - began
    assert len(kept[0]) == images
    return images / seconds


def _alone(site: Site, need: Features) -> float:
    """Processor seconds of a plain loop over the images of a piece, over those of making it, both with one thread.

    Other processes on the machine change neither much: of use where it is not alone.
    """
    torch.set_num_threads(1)
    began = time.process_time()
    _plain(site, need, CHUNK)
    between = time.process_time()
    make(tasks([need], site)[0], site, torch.device("cpu"))
    ended = time.process_time()
    for _, path in pieces(need, site):
        path.unlink(missing_ok=True)
    return (between - began) / (ended - between)


def _plain(site: Site, need: Features, images: int) -> list[np.ndarray]:
    """The pooled outputs of the blocks of the first images, kept by plain hooks."""
    tapped = Tapped(
        need.subject.path(site),
        need.subject.cell.network,
        size=need.subject.cell.images.size,
        device=torch.device("cpu"),
    )
    model, part = tapped.model, loaded(need.shown.images, site).train
    kept: list[list[np.ndarray]] = []
    for block in models.blocks(model, "block"):
        kept.append([])
        keep = kept[-1].append
        model.get_submodule(block.tap).register_forward_hook(
            lambda module, inputs, output, keep=keep: keep(models.pool(model, output).numpy())
        )
    with torch.inference_mode():
        for first in range(0, images, BATCH):
            model(normalise(part.tensor(np.arange(first, min(first + BATCH, images))), [0.5] * 3, [0.25] * 3))
    return [np.concatenate(block) for block in kept]


def _actors(site: Site, need: Features, actors: int, images: int) -> tuple[float, float]:
    """Images a second from the first `actors` pieces on, and of all from the call on."""
    for _, path in pieces(need, site):
        shutil.rmtree(path.parent, ignore_errors=True)
    todo = tasks([need], site)
    began = time.perf_counter()
    ended = [time.perf_counter() for _ in made(todo, site, slots=actors, devices=Devices())]
    assert len(ended) == len(todo) > actors
    flowing = (images - actors * CHUNK) / (ended[-1] - ended[actors - 1])
    return flowing, images / (ended[-1] - began)


def _compare(site: Site, need: Features) -> None:
    """All ways make the same."""
    torch.set_num_threads(1)
    for block, plain in enumerate(_plain(site, need, 512)):
        np.testing.assert_allclose(of_block(need, block, site)[0][:512], plain, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main(sys.argv[1:])
