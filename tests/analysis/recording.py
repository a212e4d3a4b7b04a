"""Records studies of known numbers in a real MLflow store, for the tests of this room.

The numbers follow from a cell's axes by `score_of` and its like; nothing is trained.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import make_site
from recorded import record as recorded_cell

from sweeper import store
from sweeper.cell import L2, Cell, Cka, Knn, LrSearch, Probe, make_cell, probe_key
from sweeper.grid import grid
from sweeper.outcome import Epoch
from sweeper.site import Site

STUDY, SOURCES, MIXED, EMPTY, TWICE = "transfer", "sources", "mixed", "empty", "twice"
PROBES: tuple[Probe, ...] = (Cka(), Knn(k=20), L2())
SOURCE = make_cell(dataset="flower_photos", model="resnet10t", fold=1)
CELLS = grid(
    dataset="breastmnist",
    model="resnet10t",
    source=["random", SOURCE],
    depth=[2, None],
    fraction=[0.1, 1.0],
    seed=range(3),
    patience=5,
    lr=LrSearch(low=1e-4, high=1e-2, trials=4),
)
RUNNING, FAILED = (CELLS[0].replace(seed=seed) for seed in (98, 99))
MIXED_CELLS = grid(dataset=["breastmnist", "digits"], model="cbr_mini", lr=[1e-3, 1e-2])
EPOCHS = 3


@lru_cache
def recorded(folder: Path) -> Site:
    """A site with every study below; made once per process."""
    site = make_site(folder)
    for study in (STUDY, SOURCES, MIXED, EMPTY, TWICE):
        store.initialise(site, study)
    record(site, SOURCES, SOURCE)
    for cell in reversed(CELLS):
        run_id = record(site, STUDY, cell)
        for probe in PROBES:
            store.log_probe(site, run_id, probe, probe_rows(cell, probe), folder)
    client = store.client_of(site.tracking)
    store.create(client, STUDY, RUNNING, {})
    store.fail(site, STUDY, FAILED, "ValueError: no", fault="own", attempts=1, tags={})
    for cell in MIXED_CELLS:
        record(site, MIXED, cell)
    record(site, TWICE, SOURCE)
    client.set_terminated(store.create(client, TWICE, SOURCE, {}), "FINISHED")
    return site


def record(site: Site, study: str, cell: Cell) -> str:
    test = {metric: score_of(cell, metric) for metric in ("auroc", "accuracy")}
    return recorded_cell(
        site, study, cell, done=epochs_of(cell), test_scores=test, lr=lr_of(cell), predictions=predictions_of(cell)
    )


def score_of(cell: Cell, metric: str) -> float:
    """A test score in (0, 1) that is different for every cell."""
    draw = np.random.default_rng(int(cell.key, 16) % 2**32 + len(metric)).uniform(-0.05, 0.05)
    better = 0.1 * (cell.weights.source != "random") + 0.03 * (cell.network.depth or 4) + 0.1 * cell.images.fraction
    return 0.5 + better + draw


def lr_of(cell: Cell) -> float:
    return cell.recipe.lr if isinstance(cell.recipe.lr, float) else 1e-3 * 3.0 ** (cell.seed + cell.images.fraction)


def epochs_of(cell: Cell) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(
            number=number,
            train_loss=1 / number,
            scores={"auroc": score_of(cell, "auroc") * number / EPOCHS, "accuracy": 0.5},
            lr=lr_of(cell),
            seconds=1.5,
            images_per_second=100.0 + number,
        )
        for number in range(1, EPOCHS + 1)
    )


def predictions_of(cell: Cell) -> pd.DataFrame:
    classes = 10 if cell.images.dataset == "digits" else 2
    scores = np.random.default_rng(cell.seed).dirichlet(np.ones(classes), 6)
    known = {"image": [f"{n}.png" for n in range(6)], "patient": list("aabbcc"), "part": ["val"] * 2 + ["test"] * 4}
    return pd.DataFrame(known | {"label": [0, 1] * 3} | {f"score_{n}": scores[:, n] for n in range(classes)})


def probe_rows(cell: Cell, probe: Probe) -> pd.DataFrame:
    settings = {name: getattr(probe, name) for name in type(probe).__dataclass_fields__}
    metrics = ["auroc", "accuracy"] if isinstance(probe, Knn) else [probe.name]
    known = {"key": cell.key, "probe": probe.name, "probe_key": probe_key(probe), **settings}
    return pd.DataFrame(
        [
            {**known, "block": block, "metric": metric, "value": probe_value(cell, probe, block, metric)}
            for block in range(1, (cell.network.depth or 4) + 1)
            for metric in metrics
        ]
    )


def probe_value(cell: Cell, probe: Probe, block: int, metric: str) -> float:
    value = score_of(cell, metric) - 0.1 * block
    return value * 1e-4 if isinstance(probe, L2) else value
