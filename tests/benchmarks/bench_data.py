"""Images a second from the cache, against what the studies do: each epoch decodes every JPEG in DataLoader workers.

Three questions, each answered by ratios within one run; no time is judged. It needs the real photographs of
flower_photos, which it enlarges into a temporary folder to the sizes of real sets: 600 x 450 pixels, as those of ISIC,
1500 x 1200 pixels in grey, as chest X-rays, and 224 x 224. Run it as a script, or with
`pytest -m benchmark -n0 -s tests/benchmarks/bench_data.py`:

    python tests/benchmarks/bench_data.py [--processes 4] [--workers 4] [--repeats 3] [--images 2000]
        [--questions serving training building]

`serving`: float32 batches of 224 pixels, changed and normalised, as a training step takes them; from the cache by
processes of one thread, as cells run on a CPU, and by Pillow, torchvision's transforms and a DataLoader with workers.
Its workers are kept from epoch to epoch, and in the cases called `begun` started for each, as a DataLoader does that is
not told otherwise. `training`: loading against the forward and backward pass of a ResNet-18 that it feeds. `building`:
the cache against a plain loop of one process that decodes, resizes and stores; both bring what they made to the disk.

The repeats alternate: both meet the same machine. `others` is the share of its processors that other programs took
meanwhile, and `cost` the ratio of processor time per image, theirs over ours, which says more where that share is high:
threads that wait for each other stand still as soon as one of them has to wait. Whether the system takes the memory of
a big batch back each time is the environment's choice: see MALLOC_ in the first line.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import models as vision_models
from torchvision import transforms as vision

_ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from sweeper.cell import Images  # noqa: E402
from sweeper.data import DATASETS  # noqa: E402
from sweeper.data.cache import cached  # noqa: E402
from sweeper.data.loading import AUGMENTS, Part, load, normalise  # noqa: E402
from sweeper.site import Site  # noqa: E402

_PHOTOS = _ROOT.parent / "shared" / "data" / "flower_photos"
_SIZE, _BATCH = 224, 64
_DISTINCT = 400
"""Photographs that are enlarged; more images are the same files again, under names of their own."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TAIL = [vision.ToTensor(), vision.Normalize(_MEAN, _STD)]
THEIRS = {
    "none": [vision.Resize((_SIZE, _SIZE)), *_TAIL],
    "ttl": [vision.RandomResizedCrop(_SIZE), vision.RandomHorizontalFlip(), *_TAIL],
    "feature_reuse": [
        vision.Resize((256, 256)),
        vision.RandomResizedCrop(_SIZE, scale=(0.8, 1.2)),
        vision.RandomVerticalFlip(),
        vision.RandomHorizontalFlip(),
        vision.RandomApply([vision.ColorJitter(0.2, 0.2, 0.1, 0.1)], p=0.2),
        vision.RandomGrayscale(0.2),
        *_TAIL,
    ],
}
"""The transforms of Peng et al. 2023 and of Matsoukas et al. 2022, as their files have them, and none."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What files of a real set are like."""

    width: int
    height: int
    mode: str = "RGB"

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


SKIN, XRAY, SMALL = Kind(width=600, height=450), Kind(width=1500, height=1200, mode="L"), Kind(width=224, height=224)


def test_data_from_the_cache_against_the_ways_this_replaces() -> None:
    if not _PHOTOS.is_dir():
        pytest.skip(f"the photographs are not at {_PHOTOS}")
    main(["--images", "300"])


def main(arguments: list[str]) -> None:
    """Prints one line a case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--questions", nargs="+", default=["serving", "training", "building"])
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"\n{_surroundings()}; {chosen.processes} processes, {chosen.workers} workers; {chosen.images} images")
    print("question  case                       ours/s  theirs/s   ratio: median     min     max    cost  others")
    with tempfile.TemporaryDirectory() as made:
        site = Site(data=Path(made), cache=Path(made) / "cache", storage=Path(made), tracking="")
        for question in chosen.questions:
            {"serving": _serving, "training": _training, "building": _building}[question](site, chosen)


def _serving(site: Site, chosen: argparse.Namespace) -> None:
    context, cases = multiprocessing.get_context("spawn"), [(SKIN, True), (SKIN, False), (SMALL, True), (XRAY, True)]
    with ProcessPoolExecutor(chosen.processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for kind, kept in cases:
            folder = _photos(site, kind, chosen.images)
            for name in THEIRS if kind.mode == "RGB" else ["none"]:

                def ours(dataset: str = f"folder:{folder.name}", name: str = name) -> int:
                    return sum(pool.map(partial(_see_all, site, dataset), [name] * chosen.processes))

                theirs = _serve_theirs(folder, name, chosen.workers, kept=kept)
                case = f"{name} {kind}{'' if kept else ' begun'}"
                compare("serving", case, ours, theirs, chosen.repeats)


def _see_all(site: Site, dataset: str, name: str) -> int:
    """What a cell does in an epoch, without the network: how many images it saw."""
    return _serve(_train_part(site, dataset), name)()


def _training(site: Site, chosen: argparse.Namespace) -> None:
    part = _train_part(site, f"folder:{_photos(site, SKIN, chosen.images).name}")
    for name in THEIRS:
        compare("training", name, _serve(part, name), _train(part), chosen.repeats)


def _building(site: Site, chosen: argparse.Namespace) -> None:
    few, many = chosen.images // 10, 5 * chosen.images
    for kind, number in ((SKIN, few), (SKIN, chosen.images), (SKIN, many), (SMALL, many), (XRAY, chosen.images)):
        folder = _photos(site, kind, number)
        both = (_build(folder.name, site), _build_plainly(folder))
        compare("building", f"{number} of {kind}", *both, chosen.repeats, warm=False)


def _train_part(site: Site, dataset: str) -> Part:
    """As a cell has it that is not the first of its set in a process."""
    return load(Images(dataset=dataset, fold=1, size=_SIZE), site, look=False).train


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a number of images took."""

    rate: float
    """Images a second."""
    cost: float
    """Seconds of all processors together that one image took."""


def timed(work: Callable[[], int]) -> Run:
    """A run of what tells how many images it saw."""
    began, before = time.perf_counter(), _times()[2]
    number = work()
    return Run(rate=number / (time.perf_counter() - began), cost=(_times()[2] - before) / number)


def compare(
    question: str, case: str, ours: Callable[[], int], theirs: Callable[[], int], repeats: int, *, warm: bool = True
) -> None:
    """Prints images a second of both, and the ratios of the repeats."""
    if warm:
        ours()
        theirs()
    pairs = []
    before = _times()
    for repeat in range(repeats):
        first, second = (ours, theirs) if repeat % 2 else (theirs, ours)
        one, other = timed(first), timed(second)
        pairs.append((one, other) if repeat % 2 else (other, one))
    busy, whole, own = (after - first for after, first in zip(_times(), before, strict=True))
    rates = [statistics.median(each.rate for each in runs) for runs in zip(*pairs, strict=True)]
    ratios = [mine.rate / other.rate for mine, other in pairs]
    cost = statistics.median(other.cost / mine.cost for mine, other in pairs)
    spread = "".join(f"{each:8.2f}" for each in (statistics.median(ratios), min(ratios), max(ratios), cost))
    line = f"{question:9s} {case:25s} {rates[0]:7.0f}  {rates[1]:8.1f}         {spread}"
    print(f"{line}   {max(busy - own, 0) / whole:5.0%}", flush=True)


def _serve(part: Part, name: str) -> Callable[[], int]:
    def run() -> int:
        for batch in _batches(part, name):
            assert batch.dtype == torch.float32
        return len(part)

    return run


def _batches(part: Part, name: str) -> Iterator[torch.Tensor]:
    """An epoch as the training loop has it."""
    generator = torch.Generator().manual_seed(0)
    for positions in torch.randperm(len(part), generator=generator).split(_BATCH):
        yield normalise(AUGMENTS[name](part.tensor(positions.numpy()), generator), _MEAN, _STD)


class _Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """A data set as the studies write them."""

    def __init__(self, files: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._files, self._transform = files, transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self._files[index]) as file:
            return self._transform(file.convert("RGB")), index % 5


def _serve_theirs(folder: Path, name: str, workers: int, *, kept: bool) -> Callable[[], int]:
    files = _Files(sorted(folder.rglob("*.jpg")), vision.Compose(THEIRS[name]))
    loader = DataLoader(
        files, batch_size=_BATCH, shuffle=True, num_workers=workers, prefetch_factor=4, persistent_workers=kept
    )

    def run() -> int:
        for batch, _ in loader:
            assert batch.dtype == torch.float32
        return len(files)

    return run


def _train(part: Part) -> Callable[[], int]:
    """A ResNet-18's steps on batches that are there already."""
    torch.manual_seed(0)
    model: nn.Module = vision_models.resnet18(num_classes=5).to(memory_format=torch.channels_last)
    batch, labels = next(_batches(part, "none")), torch.arange(_BATCH) % 5

    def run() -> int:
        for _ in range(2):
            model.zero_grad(set_to_none=True)
            F.cross_entropy(model(batch), labels[: len(batch)]).backward()
        return 2 * len(batch)

    return run


def _build(folder: str, site: Site) -> Callable[[], int]:
    def run() -> int:
        shutil.rmtree(site.cache, ignore_errors=True)
        return len(cached(DATASETS[f"folder:{folder}"], _SIZE, site).index)

    return run


def _build_plainly(folder: Path) -> Callable[[], int]:
    def run() -> int:
        files = sorted(folder.rglob("*.jpg"))
        pixels = np.empty((len(files), _SIZE, _SIZE, 3), dtype=np.uint8)
        for row, path in enumerate(files):
            with Image.open(path) as file:
                resized = file.convert("RGB").resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
                pixels[row] = np.asarray(resized)
        with (folder.parent / "plain.npy").open("wb") as file:
            np.save(file, pixels)
            os.fsync(file.fileno())
        return len(files)

    return run


def _photos(site: Site, kind: Kind, number: int) -> Path:
    """A folder of so many JPEGs, as evenly over the classes as can be."""
    folder = site.data / f"{number}_{kind}"
    photos = [sorted(path.glob("*.jpg")) for path in sorted(_PHOTOS.iterdir()) if path.is_dir()]
    chosen = [path for alike in zip(*photos, strict=False) for path in alike][: min(number, _DISTINCT)]
    for image in range(0 if folder.exists() else number):
        path = chosen[image % len(chosen)]
        name = f"{path.parent.name}/{path.stem}"
        first = site.data / "once" / str(kind) / f"{name}.jpg"
        if not first.exists():
            first.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as file:
                large = file.convert(kind.mode).resize((kind.width, kind.height), Image.Resampling.BICUBIC)
            large.save(first, quality=92)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(first, folder / f"{name}_{image // len(chosen)}.jpg")
    return folder


def _times() -> tuple[float, float, float]:
    """Seconds of all processors that were busy, that went by, and that this process and its children had."""
    second = os.sysconf("SC_CLK_TCK")
    ticks = [int(each) / second for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(_ticks(pid) for pid in _family(os.getpid())) / second
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks), gone.ru_utime + gone.ru_stime + alive


def _family(pid: int) -> Iterator[int]:
    """A process and those that it and its children started."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from _family(int(child))


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _surroundings() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    malloc = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("MALLOC_")]
    return (
        f"{os.cpu_count()} x {processor}; load {os.getloadavg()[0]:.1f}; torch {torch.__version__}; Pillow "
        f"{Image.__version__}; commit {told.stdout.strip() or 'unknown'}; {' '.join(malloc) or 'no MALLOC_ set'}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
