"""Seconds to read the runs of a big study: from the columnar copy, when it is made, and as MLflow lists them.

It prints and judges no time; it does insist that all ways give the same frame. Run it as a script, which needs neither
pytest, torch nor Ray, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_frames.py`:

    python tests/benchmarks/bench_frames.py [--runs 50000] [--repeats 5]

The runs are written straight into MLflow's SQLite file, with as many parameters, tags and numbers as a cell has, and
10 epochs of curves, which stand in a file of each run too. The baseline is the former way, MLflow's own search and a
frame made of what it finds.
"""

import argparse
import itertools
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2])]
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from analysis import cells, frames
from sweeper import store
from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.site import Site

STUDY = "big"
_SCORES = ("auroc", "auprc", "accuracy", "balanced_accuracy", "f1_macro", "nll", "kappa", "ece", "brier", "loss")
_CURVES = ("train_loss", "val_auroc", "val_loss", "lr_now", "seconds", "images_per_second")
_EPOCHS = 10
_VERSIONS = ("sweeper", "torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")


def test_reading_many_runs() -> None:
    main(["--runs", "2000", "--repeats", "3"])


def main(arguments: list[str]) -> None:
    """Prints the seconds of each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    print(f"\n{platform.processor() or platform.machine()}; pandas {pd.__version__}; {chosen.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        site = _site(Path(folder))
        every = list(itertools.islice(_cells(), chosen.runs + 100))
        write(site, every[: chosen.runs])
        first = _told("the copy is made", 1, lambda: frames.runs(STUDY, site))
        again = _told("nothing is new", chosen.repeats, lambda: frames.runs(STUDY, site))
        write(site, every[chosen.runs :], first=chosen.runs)
        grown = _told("100 runs are new", 1, lambda: frames.runs(STUDY, site))
        listed = _told("MLflow's own search, the baseline", 1, lambda: cells._on_server(STUDY, site).rows)
        pd.testing.assert_frame_equal(first[0], again[0])
        pd.testing.assert_frame_equal(grown[0], listed[0])
        print(f"the baseline over the copy: {listed[1] / again[1]:.0f} x")
        made = _told("epochs: the copy is made", 1, lambda: frames.epochs(STUDY, site))
        kept = _told("epochs: nothing is new", chosen.repeats, lambda: frames.epochs(STUDY, site))
        pd.testing.assert_frame_equal(made[0], kept[0])
        assert len(kept[0]) == len(every) * _EPOCHS


def _told(what: str, repeats: int, read: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, float]:
    """The frame and the median of the seconds, which are printed."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        frame = read()
        seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    print(f"{what}: median {middle:.2f} s, min {min(seconds):.2f}, max {max(seconds):.2f} (n {repeats}), {frame.shape}")
    return frame, middle


def _site(folder: Path) -> Site:
    storage = folder / "storage"
    site = Site(data=folder, cache=folder, storage=storage, tracking=f"sqlite:///{storage / 'mlflow.db'}")
    store.initialise(site, STUDY)
    return site


def _cells() -> Iterator[Cell]:
    lr = LrSearch(low=1e-5, high=1e-2, trials=12)
    models = ("resnet18", "resnet34", "resnet50", "densenet121", "cbr_tiny")
    sources, depths, fractions = ("random", "imagenet", "radimagenet", "dino"), range(1, 6), (0.05, 0.1, 0.25, 0.5, 1.0)
    for seed, *axes in itertools.product(range(21), models, sources, depths, fractions, range(1, 6)):
        names = ("model", "source", "depth", "fraction", "fold")
        yield make_cell(dataset="breastmnist", lr=lr, seed=seed, **dict(zip(names, axes, strict=True)))


def write(site: Site, every: list[Cell], first: int = 0) -> None:
    """Puts finished runs of these cells into MLflow's tables, as it would itself."""
    with sqlite3.connect(site.storage / "mlflow.db") as connection:
        (experiment,) = connection.execute("SELECT experiment_id FROM experiments WHERE name = ?", (STUDY,)).fetchone()
        for start in range(0, len(every), 1000):
            some = [(f"{first + start + n:032x}", cell) for n, cell in enumerate(every[start : start + 1000])]
            _write_epochs(site, [run_id for run_id, _ in some])
            _insert(connection, "runs", (_run(site, run_id, experiment) for run_id, _ in some))
            _insert(connection, "tags", ((k, v, run_id) for run_id, cell in some for k, v in _tags(cell).items()))
            _insert(connection, "params", ((k, str(v), run_id) for run_id, cell in some for k, v in cell.row().items()))
            latest = ((k, v, 1, 0, 0, run_id) for run_id, cell in some for k, v in _numbers(cell).items())
            _insert(connection, "latest_metrics", latest)
            _insert(connection, "metrics", (point for run_id, cell in some for point in _points(run_id, cell)))


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[tuple[object, ...]]) -> None:
    known = list(rows)
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(known[0]))})", known)


def _run(site: Site, run_id: str, experiment: int) -> tuple[object, ...]:
    kept = _files(site, run_id).as_uri()
    return (run_id, "cell", "UNKNOWN", "", "", "nobody", "FINISHED", 1, 2, "", "active", kept, experiment, None)


def _files(site: Site, run_id: str) -> Path:
    return site.storage / "files" / run_id / "artifacts"


def _write_epochs(site: Site, run_ids: list[str]) -> None:
    """A file for each run, all alike: what is measured does not depend on their numbers."""
    rows = pd.DataFrame({"epoch": range(1, _EPOCHS + 1)} | {name: [0.5] * _EPOCHS for name in _CURVES})
    rows.to_parquet(site.storage / "epochs.parquet")
    content = (site.storage / "epochs.parquet").read_bytes()
    for run_id in run_ids:
        _files(site, run_id).mkdir(parents=True)
        (_files(site, run_id) / "epochs.parquet").write_bytes(content)


def _tags(cell: Cell) -> dict[str, str]:
    known = {store.KEY: cell.key, store.CELL: cell.to_json(), store.LR_FOUND: "0.001", store.FINGERPRINT: "f" * 16}
    counted = {store.SECONDS: "12.5", store.EPOCHS: str(_EPOCHS), "sweeper.commit": "c" * 40, "mlflow.user": "nobody"}
    return known | counted | {f"sweeper.version.{name}": "1.0.0" for name in _VERSIONS}


def _numbers(cell: Cell) -> dict[str, float]:
    value = int(cell.key, 16) / 2**64
    parts = {f"{part}_{name}": value for part in ("best_val", "test") for name in _SCORES}
    return parts | dict.fromkeys(_CURVES, value) | {"best_epoch": 3.0, "epochs_run": _EPOCHS, "total_seconds": 12.5}


def _points(run_id: str, cell: Cell) -> Iterator[tuple[object, ...]]:
    numbers = _numbers(cell)
    for name, value in numbers.items():
        steps = range(1, _EPOCHS + 1) if name in _CURVES else [0]
        yield from ((name, value, 1, run_id, step, 0) for step in steps)


if __name__ == "__main__":
    main(sys.argv[1:])
