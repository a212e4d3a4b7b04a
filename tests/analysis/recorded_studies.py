"""Records small forms of the published studies, cells, epochs, states and probe rows of known numbers, in a real store.

Scores follow from a cell's axes alone, so that tests may say what a figure has to show. Nothing is trained.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from conftest import make_site
from recorded import record
from safetensors.numpy import save_file

from sweeper import store
from sweeper.cell import Cell, Cka, Gabor, Knn, probe_key
from sweeper.grid import grid
from sweeper.outcome import Epoch
from sweeper.site import Site

HIDDEN, REUSE, FUSION, CUT, LAYERS = "hidden", "reuse", "fusion", "cut", "cut_layers"
_HIDDEN = dict(model="resnet50", fold=[1, 2, 3], dataset=["busi", "knee"], size=32)
HIDDEN_CELLS = [
    *grid(source=["imagenet", "radimagenet"], **_HIDDEN),
    *grid(source=["imagenet", "radimagenet"], head_epochs=2, **_HIDDEN),
    *grid(source="random", **_HIDDEN),
]
_REUSE = dict(dataset=["aptos2019", "isic2019"], seed=[1, 2], grain="layer", size=32)
REUSE_CELLS = [
    cell
    for model, most in (("resnet50", 17), ("deit_small_patch16_224", 25))
    for cell in [
        *grid(model=model, source=["random", "imagenet"], **_REUSE),
        *grid(model=model, source="imagenet", rest="stats", blocks=[0, 5, most - 4], **_REUSE),
    ]
]
_FUSION = dict(dataset="aptos2019", model="resnet50", seed=[0, 1], size=32)
FUSION_CELLS = [
    *grid(source=["random", "imagenet"], fraction=[0.1, 1.0], **_FUSION),
    *grid(source="imagenet", blocks=[1, 3], **_FUSION),
    *grid(source="imagenet", blocks=0, rest="stats", **_FUSION),
    *grid(source="imagenet", slim=2, **_FUSION),
    *grid(source="random", gabor=Gabor(), **_FUSION),
]
_CUT = dict(dataset="bimcv", model="resnet50", grain="layer", fold=[1, 2, 3], size=32)
_LWFT = dict(backbone_decay=10.0, frozen_norms="learn")
CUT_CELLS = [
    *grid(source="imagenet", depth=[4, 8, 14, 17], **_CUT),
    *grid(source="imagenet", depth=[4, 8, 14, 17], head="flatten", **_CUT),
    *grid(source="imagenet", slim=[4, 8, 14], **_CUT),
    *grid(source="imagenet", frozen=[1, 4, 8, 14, 17], **_LWFT, **_CUT),
    *grid(source="imagenet", frozen=[4, 8], backbone_decay=[1.0, 2.0, 100.0], frozen_norms="learn", **_CUT),
    *grid(source="radimagenet", depth=[8, 17], **_CUT),
    *(cell for end in (4, 8, 17) for cell in grid(source="imagenet", depth=end, frozen=end, **_CUT)),
    *grid(source=["imagenet", "random"], fraction=[0.1, 1.0], **(_CUT | dict(model="densenet121"))),
]
LAYER_CELLS = grid(source="imagenet", depth=[11, 12], **_CUT)
STUDIES = {HIDDEN: HIDDEN_CELLS, REUSE: REUSE_CELLS, FUSION: FUSION_CELLS, CUT: CUT_CELLS, LAYERS: LAYER_CELLS}
EPOCHS = 4
BLOCKS = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A probe whose rows are recorded: its name, and settings as probes have them."""

    name: str
    part: str = "val"
    state: str = "best"
    across: str | None = None
    version: ClassVar[int] = 1


@lru_cache
def recorded(folder: Path, *studies: str) -> Site:
    """A site with some of the studies; made once per process."""
    site = make_site(folder)
    for study in studies:
        store.initialise(site, study)
        runs = {cell.key: _record(site, study, cell) for cell in STUDIES[study]}
        for cell in STUDIES[study]:
            for probe, rows in _probes(study, cell):
                known = {"key": cell.key, "probe": probe.name, "probe_key": probe_key(probe)}  # type: ignore[arg-type]
                store.log_probe(site, runs[cell.key], probe, pd.DataFrame([known | row for row in rows]), folder)  # type: ignore[arg-type]
    return site


def score_of(cell: Cell, metric: str = "auroc") -> float:
    """A score in (0, 1): better with features than with statistics, and those than at random."""
    weights, network = cell.weights, cell.network
    gain = 0.0 if weights.source == "random" else 0.15 if weights.source == "imagenet" else 0.1
    if weights.rest == "stats" and weights.blocks is not None:
        gain = 0.02 + 0.006 * weights.blocks
    depth = 0.004 * (network.depth or 17) - 0.02 * ((network.depth or 17) > 14)
    losses = 0.01 * (cell.recipe.head_epochs > 0) + 0.004 * cell.recipe.frozen + 0.02 * (network.slim is not None)
    draw = np.random.default_rng(int(cell.key, 16) % 2**32 + len(metric)).uniform(-0.01, 0.01)
    return 0.6 + gain + depth + 0.05 * cell.images.fraction - losses - 0.03 * (metric == "auprc") + draw


def similarity_of(cell: Cell, block: int, against: Cell | None = None) -> float:
    return 0.95 - 0.12 * block - 0.3 * (against is not None) - 0.05 * (cell.weights.source == "radimagenet")


def distance_of(cell: Cell) -> float:
    """From ImageNet; another extractor sees another one."""
    return 140.0 + len(cell.images.dataset) + 10 * (cell.network.model == "resnet50") + cell.seed


def _record(site: Site, study: str, cell: Cell) -> str:
    names = ("auroc", "auprc", "auroc_weighted", "quadratic_kappa", "balanced_accuracy", "accuracy", "recall_macro")
    scores = {name: score_of(cell, name) for name in names}
    classes = {f"auroc_class_{n}": scores["auroc"] - 0.01 * n for n in range(3)} if study == CUT else {}
    known = dict(lr=1e-3, images_per_second=9.0)
    curve = [
        Epoch(
            number=n, train_loss=1 / n, scores={k: v * n / EPOCHS for k, v in scores.items()}, seconds=1.0 + n, **known
        )
        for n in range(1, EPOCHS + 1)
    ]
    return record(site, study, cell, done=tuple(curve), test_scores=scores | classes, states=_states)


def _states(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("start", "best"):
        filters = draw.standard_normal((64, 3, 7, 7)).astype(np.float32)
        inner = draw.standard_normal((64, 64, 3, 3)).astype(np.float32)
        save_file({"stem.0.weight": filters, "stages.0.weight": inner}, folder / f"{name}.safetensors")


def _probes(study: str, cell: Cell) -> list[tuple[object, list[dict]]]:
    blocks = range(1, BLOCKS + 1)
    own = [dict(block=b, metric="cka", value=similarity_of(cell, b)) for b in blocks]
    found: list[tuple[object, list[dict]]] = [(Cka(), own)]
    if study == REUSE:
        wanted = "quadratic_kappa", "balanced_accuracy", "auroc", "accuracy"
        found.append((Knn(k=20), [dict(block=b, metric=m, value=0.5 + 0.05 * b) for b in blocks for m in wanted]))
        whole = [
            dict(block=a, other_block=b, metric="cka", value=1 - 0.15 * abs(a - b)) for a in blocks for b in blocks
        ]
        found.append((Asked(name="cka", part="test"), whole))
        distance = distance_of(cell)
        parts = {"fid": distance, "fid_means": 0.25 * distance, "fid_covariances": 0.75 * distance}
        rows = [dict(block=None, to="imagenet", to_fold=0, metric=m, value=v) for m, v in parts.items()]
        found.append((Asked(name="fid"), rows))
        lost = [dict(block=b or None, metric=m, value=0.8 - 0.1 * (b == 1)) for b in range(BLOCKS + 1) for m in wanted]
        found.append((Asked(name="reinit"), lost))
    if study == HIDDEN and cell.weights.source == "imagenet":
        other = cell.replace(source="radimagenet")
        pair = dict(other=other.key)
        for state in ("best", "start"):
            rows = [
                dict(**pair, state=state, block=b, metric="cka", value=similarity_of(cell, b, other)) for b in blocks
            ]
            found.append((Asked(name="cka", state=state, across="source"), rows))
        agree = {"mistake_observed": 0.8, "mistake_expected": 0.7, "mistake_expected_legacy": 0.72}
        rows = [dict(**pair, metric=metric, value=value) for metric, value in agree.items()]
        found.append((Asked(name="agreement", across="source"), rows))
    if study == CUT and cell.network.depth:
        rows = [
            dict(block=b, metric=metric, value=similarity_of(cell, b) * share)
            for b in blocks
            for metric, share in (("cca", 1.0), ("cca_gaussian", 0.4))
        ]
        found.append((Asked(name="cca"), rows))
    return found
