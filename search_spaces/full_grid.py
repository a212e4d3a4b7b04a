"""The study grid: source x target x model x truncation on the real medical sets, with ImageNet and RadImageNet weights.

It feeds the questions of three studies: which source (Juodelyte et al. 2023), how much of it is features and how much
is statistics (Raghu et al. 2019, Matsoukas et al. 2022), and where to cut (Peng et al. 2023). Not run yet; its size:

    uv run python -m sweeper.run search_spaces/full_grid.py --plan

TARGETS are the studies' own, each archive of images once: isic2019 holds those of isic2018 and ham10000, cbis_ddsm is a
selection of ddsm. All are cut by folds of patients. 870 cells a target, 8,700 in all. A set that is not there stops the
study before it trains: leave it out of TARGETS, and add it later; what has run by then is kept.

Every start is scored without training too, so that it can be published how far such scores foresee what was measured
(`python -m analysis.transferability full_grid OUT`); where the grid grows, they order its queue. They need one label an
image: the targets with several are a sweep of their own.
"""

from typing import Any

from sweeper import L2, Cell, Cka, Convergence, Cost, Knn, LrSearch, Sweep, Transferability, grid

TARGETS = ["chest_xray", "busi", "ddti", "cbis_ddsm", "knee", "isic2019", "aptos2019", "pcam", "bimcv"]
MULTILABEL = ["chexpert_u_zeros"]
"""Targets of which an image may have several classes: they have a loss of their own."""
CNNS = ["resnet18", "resnet50"]

RECIPE: dict[str, Any] = dict(
    fold=range(1, 6),
    seed=range(3),
    size=224,
    augment="flip_shift",
    lr=LrSearch(low=1e-5, high=1e-2, trials=12),
    epochs=50,
    patience=10,
    optimizer="adamw",
    weight_decay=1e-4,
    schedule="cosine",
    warmup=1,
)


def cells(**common: Any) -> list[Cell]:
    """Every start, cut and model on these targets."""
    return [
        *grid(model=CNNS, source=["imagenet", "random"], **common),
        *grid(model="resnet50", source="radimagenet", **common),
        *grid(model=CNNS, source="imagenet", blocks=range(5), rest="stats", **common),
        *grid(model=CNNS, source="imagenet", blocks=range(1, 4), rest="random", **common),
        *grid(model="resnet50", source=["imagenet", "radimagenet"], depth=range(1, 18), grain="layer", **common),
        *grid(model=["cbr_larget", "cbr_small", "cbr_tiny"], source="random", **common),
    ]


PROBES = [
    Cka(against="start"),
    Knn(k=200),
    L2(against="start"),
    Cost(),
    Convergence(threshold=0.91, score="auroc"),  # of Raghu et al. 2019
]
SCORES = Transferability(scores=("logme", "h_score_shrunk", "transrate"), stimuli=1000)
"""Of a thousand images: the time that scores take grows with them, and with the features squared."""
REPEATS = "several of the sets repeat images, across patients too; none is left out, as in what was published"
sweeps = [
    Sweep(name="full_grid", cells=cells(dataset=TARGETS, **RECIPE), probes=[*PROBES, SCORES], allow_leakage=REPEATS),
    Sweep(
        name="full_grid_multilabel",
        cells=cells(dataset=MULTILABEL, loss="bce", **RECIPE),
        probes=PROBES,
        allow_leakage=REPEATS,
    ),
]
