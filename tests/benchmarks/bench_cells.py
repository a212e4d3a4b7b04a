"""What a cell costs beside its training: this system against the ways that it replaces, in one run on one machine.

    python tests/benchmarks/bench_cells.py overhead [--cells 60] [--repeats 3]   # a second of work a cell, one worker
    python tests/benchmarks/bench_cells.py lanes [--cells 12]                    # the same, two workers a cell
    python tests/benchmarks/bench_cells.py study [--seeds 15] [--repeats 3]      # 4 x seeds cells with rate searches

`overhead` and `lanes` have the documented pattern beside them: a Tune trial that starts a `TorchTrainer` of its own.
`study` has (a) one cold process a cell that decodes its images in every epoch, and (b) the documented pattern, with the
same cells, rates, early end of poor rate trials and loop, so that scores must be equal. Times are printed and never
judged. It reads from SWEEPER_DATA flower_photos, or, with `--images xrays`, the chest X-rays, which it enlarges into a
temporary folder to about the size that the set's own files have: what it costs to decode them in every epoch is part
of what is compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tune_and_train import is_poor  # noqa: E402

from sweeper import store  # noqa: E402
from sweeper.cell import Cell, make_cell  # noqa: E402
from sweeper.site import Site  # noqa: E402

if TYPE_CHECKING:
    from sweeper.rates import Ask, Search

SLOTS = 4
SMALL = make_cell(dataset="digits", model="cbr_mini", fold=1, size=8, epochs=2, frozen=4, lr=1e-3)
STUDY = """
from sweeper import LrSearch, Sweep, grid
cells = grid(dataset="{dataset}", model="cbr_mini", depth=[1, 2, 3, 4], size=64, fold=1, fraction={fraction},
             epochs={epochs}, seed=range({seeds}), lr=LrSearch(low=1e-4, high=1e-2, trials=4, epochs=3))
sweep = Sweep(name="study", cells=cells, allow_leakage="some images repeat; only times are measured")
"""
DATASETS_OF = {"photos": "flower_photos", "xrays": "chest_xray"}
XRAY_SIZE = (1320, 970)
"""Pixels, about the mean of the 5,856 files of Kermany et al. 2018."""


def main() -> None:
    """Runs one comparison and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "lanes", "study", "cold"))
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--images", choices=tuple(DATASETS_OF), default="photos")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("ours", "cold", "pattern"), help="leave the others out")
    parser.add_argument("--job", help="of `cold`: what one cold process is to do")
    options = parser.parse_args()
    match options.what:
        case "overhead":
            _compare_overhead(options.cells, options.repeats, workers=1)
        case "lanes":
            _compare_overhead(min(options.cells, 12), options.repeats, workers=2)
        case "study" if options.images == "xrays":
            with tempfile.TemporaryDirectory() as folder:
                _enlarge_xrays(Site.from_environment().data / "chest_xray", Path(folder) / "chest_xray")
                os.environ["SWEEPER_DATA"] = folder
                _compare_studies(options)
        case "study":
            _compare_studies(options)
        case "cold":
            _train_cold(json.loads(options.job))


def _compare_overhead(count: int, repeats: int, workers: int) -> None:
    _say_where()
    pattern = [_pattern_overhead(2 * SLOTS, workers) for _ in range(repeats)]
    ours = [_own_overhead(count, workers) for _ in range(repeats)]
    _say("a TorchTrainer per trial", pattern)
    _say("warm actors" if workers == 1 else "lanes", ours)
    print(f"ratio of the medians: {median(pattern) / median(ours):.1f}")


def _own_overhead(count: int, workers: int) -> float:
    """Seconds of overhead of each further cell: of a study of `count` cells against one of a few."""
    few = 2 * SLOTS
    return (_own_loss(count + few, workers) - _own_loss(few, workers)) / count


def _own_loss(count: int, workers: int) -> float:
    """Slot seconds of a study that went into anything but training and evaluation, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        site = _site(Path(folder))
        text = (
            "from sweeper import *\nfrom sweeper.cell import Cell\n"
            f"cell = Cell.from_json({SMALL.to_json()!r})\n"
            f"sweep = Sweep(name='study', cells=[cell.replace(seed=s) for s in range({count})],"
            f" workers_per_cell={workers})\n"
        )
        return count * _overhead_said(_run_study(text, site))


def _pattern_overhead(count: int, workers: int) -> float:
    """The same of the documented pattern, with as many trials at once as fit."""
    with tempfile.TemporaryDirectory() as folder:
        site = _site(Path(folder))
        jobs = [{"cell": SMALL.replace(seed=seed).to_json(), "lr": 1e-3} for seed in range(count)]
        at_once = SLOTS // workers
        began = time.monotonic()
        told = _run_pattern(jobs, site, workers)
        return ((time.monotonic() - began) * at_once - sum(each["seconds"] for each in told)) / count


def _compare_studies(options: argparse.Namespace) -> None:
    _say_where()
    walls: dict[str, list[float]] = {"ours": [], "cold": [], "pattern": []}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in walls}
    for _ in range(options.repeats):
        for name, run in (("ours", _study_ours), ("cold", _study_cold), ("pattern", _study_pattern)):
            if options.only in (None, name):
                with tempfile.TemporaryDirectory() as folder:
                    wall, found = run(_site(Path(folder)), options)
                walls[name].append(wall)
                scores[name].append(found)
                print(f"{name}: {wall:.1f} s", flush=True)
    for name, found in walls.items():
        if found:
            _say(f"{name}: whole command, s", found)
            if name != "ours" and walls["ours"]:
                print(f"  {median(found) / median(walls['ours']):.2f} times ours")
    known = [found for each in scores.values() for found in each]
    worst = max(abs(found[key] - known[0][key]) for found in known for key in known[0])
    print(f"largest difference of a test score between any two: {worst:.2g}")


def _enlarge_xrays(folder: Path, into: Path) -> None:
    from PIL import Image

    for path in folder.rglob("*.jpeg"):
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").resize(XRAY_SIZE, Image.Resampling.BICUBIC).save(target, quality=90)


def _study_ours(site: Site, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    began = time.monotonic()
    said = _run_study(_study_text(options), site)
    wall = time.monotonic() - began
    print(next(line for line in said.splitlines() if "overhead" in line))
    return wall, _recorded_scores(site)


def _study_cold(site: Site, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """One process a cell and a rate trial, four at a time; the images are decoded in every epoch."""

    def train(job: dict[str, Any]) -> dict[str, Any]:
        command = [sys.executable, __file__, "cold", "--job", json.dumps(job | {"cache": str(site.cache)})]
        found = subprocess.run(command, env=_environment(site), capture_output=True, text=True, check=True)
        return json.loads(found.stdout.splitlines()[-1])

    def train_all(jobs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(SLOTS) as threads:
            return list(threads.map(train, jobs))

    return _with_rates(options, site, train_all)


def _study_pattern(site: Site, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    return _with_rates(options, site, partial(_run_pattern, site=site, workers=1))


def _with_rates(
    options: argparse.Namespace, site: Site, train_all: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> tuple[float, dict[str, float]]:
    """The whole study by a way that trains a list of cells: the rate trials first, then the cells at their rates."""
    from sweeper.outcome import RateTrial
    from sweeper.rates import Searches

    began = time.monotonic()
    cells = _cells(options, site)
    searches = [Searches(cells, site.storage / "r.db").open(name) for name in dict.fromkeys(c.setting() for c in cells)]
    while asked := [(search, ask) for search in searches for ask in _all_asks(search)]:
        told = train_all([{"cell": ask.cell.to_json(), "lr": ask.lr, "floor": ask.floor} for _, ask in asked])
        for (search, ask), found in zip(asked, told, strict=True):
            search.tell(ask.number, RateTrial(scores=tuple(found["val"]), diverged=None, seconds=0.0))
    rates = {search.setting: search.found() for search in searches}
    told = train_all([{"cell": cell.to_json(), "lr": rates[cell.setting()]} for cell in cells])
    found = {cell.key: each["test"] for cell, each in zip(cells, told, strict=True)}
    return time.monotonic() - began, found


def _all_asks(search: "Search") -> Iterator["Ask"]:
    while (ask := search.ask()) is not None:
        yield ask


def _train_cold(job: dict[str, Any]) -> None:
    """One cell or rate trial as the studies' scripts run it: a process of its own, images decoded for every epoch."""
    import numpy as np
    import torch
    from PIL import Image

    from sweeper.data import DATASETS
    from sweeper.finetune.loop import epochs, predict, prediction_table
    from sweeper.finetune.metrics import score
    from sweeper.finetune.training import start

    torch.set_num_threads(1)
    cell, site = Cell.from_json(job["cell"]), Site.from_environment()
    ready = start(cell, site, torch.device("cpu"))
    dataset, size = DATASETS[cell.images.dataset], cell.images.size
    names = [name for part in (ready.data.train, ready.data.val) for name in part.names]
    done, best, state = [], -1.0, {}
    began = time.perf_counter()
    for epoch in epochs(
        ready.model,
        ready.data,
        cell.recipe,
        lr=job["lr"],
        augment=cell.images.augment,
        seed=cell.seed,
        view=ready.view,
        frozen=ready.frozen,
    ):
        for name in names:
            pixels = dataset.decode(site.data, name).squeeze()  # a grey one has no channels for Pillow
            np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
        done.append(epoch.scores[ready.data.metric])
        if done[-1] > best:
            best, state = done[-1], {name: value.clone() for name, value in ready.model.state_dict().items()}
        if is_poor(done, job):
            break
    ready.model.load_state_dict(state)
    test = score(
        prediction_table(ready.data.test, "test", predict(ready.model, ready.data.test, ready.view)), ready.data.task
    )
    print(json.dumps({"val": done, "test": test[ready.data.metric], "seconds": time.perf_counter() - began}))


def _run_pattern(jobs: list[dict[str, Any]], site: Site, workers: int) -> list[dict[str, Any]]:
    """Tune trials that each start a `TorchTrainer` with a worker group of its own, as Ray documents it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "jobs.json").write_text(json.dumps(jobs))
        command = [sys.executable, str(Path(__file__).with_name("tune_and_train.py")), folder, str(workers)]
        subprocess.run(command, env=_environment(site), check=True, capture_output=True)
        return json.loads((Path(folder) / "told.json").read_text())


def _study_text(options: argparse.Namespace) -> str:
    return STUDY.format(
        dataset=DATASETS_OF[options.images], seeds=options.seeds, epochs=options.epochs, fraction=options.fraction
    )


def _cells(options: argparse.Namespace, site: Site) -> list[Cell]:
    from sweeper.grid import load

    site.storage.mkdir(parents=True, exist_ok=True)
    file = site.storage / "study.py"
    file.write_text(_study_text(options))
    return list(load(file)[0].cells)


def _run_study(text: str, site: Site) -> str:
    site.storage.mkdir(parents=True, exist_ok=True)
    file = site.storage / "study.py"
    file.write_text(text)
    command = [sys.executable, "-m", "sweeper.run", str(file)]
    found = subprocess.run(command, cwd=ROOT, env=_environment(site), capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stdout + found.stderr)
    return found.stdout


def _recorded_scores(site: Site) -> dict[str, float]:
    from sweeper.data import DATASETS

    found = {}
    for run in store.runs(site, "study"):
        cell = Cell.from_json(run.data.tags[store.CELL])
        found[cell.key] = run.data.metrics[f"test_{DATASETS[cell.images.dataset].metric}"]
    return found


def _overhead_said(output: str) -> float:
    line = next(line for line in output.splitlines() if "overhead" in line)
    return float(line.rpartition("overhead ")[2].split()[0])


def _site(folder: Path) -> Site:
    data = Site.from_environment().data
    return Site(data=data, cache=folder / "c", storage=folder / "s", tracking=f"sqlite:///{folder / 's' / 'mlflow.db'}")


def _environment(site: Site) -> dict[str, str]:
    return os.environ | {
        "SWEEPER_DATA": str(site.data),
        "SWEEPER_CACHE": str(site.cache),
        "SWEEPER_STORAGE": str(site.storage),
        "MLFLOW_TRACKING_URI": site.tracking,
        "PYTHONPATH": str(ROOT),
    }


def _say_where() -> None:
    import platform

    import torch

    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, ", end=""
    )
    print(f"torch {torch.__version__}, commit {commit.stdout.strip()}")


def _say(name: str, values: list[float]) -> None:
    print(f"{name}: median {median(values):.3g} (min {min(values):.3g}, max {max(values):.3g}, n {len(values)})")


if __name__ == "__main__":
    main()
