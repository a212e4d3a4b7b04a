"""The study grid: source x target x model x truncation on the real medical sets, with ImageNet and RadImageNet weights.

It feeds the questions of three studies: which source (Juodelyte et al. 2023), how much of it is features and how much
is statistics (Raghu et al. 2019, Matsoukas et al. 2022), and where to cut (Peng et al. 2023). Not run yet; its size:

    uv run python -m sweeper.run search_spaces/full_grid.py --plan
"""

from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid

TARGETS = ["chest_xray", "busi", "breastmnist", "pneumoniamnist"]
CNNS = ["resnet18", "resnet50"]

common = dict(
    dataset=TARGETS,
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
transfer = grid(model=CNNS, source=["imagenet", "random"], **common) + grid(
    model="resnet50", source="radimagenet", **common
)
reuse = grid(model=CNNS, source="imagenet", blocks=range(5), rest="stats", **common)
transfusion = grid(model=CNNS, source="imagenet", blocks=range(1, 4), rest="random", **common)
cut = grid(model="resnet50", source=["imagenet", "radimagenet"], depth=range(1, 18), grain="layer", **common)
small = grid(model=["cbr_larget", "cbr_small", "cbr_tiny"], source="random", **common)

sweep = Sweep(
    name="full_grid",
    cells=transfer + reuse + transfusion + cut + small,
    probes=[Cka(against="start"), Knn(k=200), L2(against="start")],
    allow_leakage="all four sets repeat some images, across patients too; none is left out, as in what was published",
)
