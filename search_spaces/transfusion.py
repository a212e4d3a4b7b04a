"""What transfer does to convergence and to small models: Raghu et al. 2019, Transfusion.

Question: do ImageNet weights help medical images at all, in large and in small networks, on all and on few images, and
which part of them does it? ResNet-50, Inception-v3 and the CBR family from random weights and, where there are any,
from ImageNet's (Tables 1 to 3); statistics alone (Mean Var), the first n stages (weight transfusion), a slim top, and
Gabor filters in the first layer (learning curves, steps to an AUC of 0.91, CCA bars, filter plots).

    uv run python -m sweeper.run search_spaces/transfusion.py --plan
    uv run python -m sweeper.run search_spaces/transfusion.py --small

Recipe: the sources are silent about training. Chosen here: AdamW with weight decay 1e-4, a searched rate, at most 50
epochs with a cosine, patience 10, five seeds; weight transfusion after each of ResNet-50's stages and its stem; the
bank of Gabor filters is `Gabor()` (the paper's own is in no stored text); `cbr_tiny` also with the start width 32 that
the paper's parameter count fits. ImageNet weights of the CBR family are not published.

The study's targets are the five findings of CheXpert's competition (224 px; the sources do not say what becomes of
uncertain ones: here they are absent) and a private set of about 250,000 fundus photographs (587 px). aptos2019 stands
in for the latter, with the same five grades of the same disease in 3,662 images: 2 % of its training part are some 44.
Its AUC is the mean over the grades, the study's that of moderate or worse. 240 cells a target.
"""

from typing import Any

from sweeper import L2, Cell, Cka, Convergence, Filters, Gabor, Knn, LrSearch, Sweep, grid

TARGETS: dict[str, dict[str, Any]] = {
    "aptos2019": dict(size=587, monitor="auroc"),
    "chexpert_five_u_zeros": dict(size=224, loss="bce"),
}
"""Target -> size of its images in pixels, and what differs from the common recipe."""
LARGE = ["resnet50.tv_in1k", "inception_v3.tv_in1k"]
CBRS = ["cbr_larget", "cbr_largew", "cbr_small", "cbr_tiny"]


def initialisations(model: str, source: Any, stages: int, **common: Any) -> list[Cell]:
    """Every start of one ResNet with so many stages."""
    own = dict(model=model, **common)
    return [
        *grid(source="random", **own),
        *grid(source=source, **own),
        *grid(source=source, blocks=0, rest="stats", **own),  # Mean Var
        *grid(source=source, blocks=1, grain="layer", **own),  # weight transfusion: the stem,
        *grid(source=source, blocks=range(1, stages), **own),  # then stage by stage
        *grid(source=source, slim=2, **own),  # slim: half as wide and random above the second stage
        *grid(source="random", gabor=Gabor(), **own),
    ]


def cells(fractions: list[float], **own: Any) -> list[Cell]:
    """The whole study on one target."""
    found = initialisations(LARGE[0], "imagenet", stages=4, **own)
    found += grid(model=LARGE, source=["random", "imagenet"], fraction=[1.0, *fractions], **own)
    found += grid(model=LARGE[1], source="imagenet", blocks=0, rest="stats", **own)
    found += grid(model=CBRS, fraction=[1.0, *fractions], **own)
    found += grid(model=CBRS, gabor=Gabor(), **own)
    return found + grid(model="cbr_tiny", width=32, fraction=[1.0, *fractions], **own)


PROBES = [
    Cka(against="start"),
    Knn(k=200),
    L2(against="start"),
    Convergence(threshold=0.91, score="auroc"),  # the study's threshold
    Filters(),
]
RECIPE: dict[str, Any] = dict(
    fold=1,
    seed=range(5),
    augment="flip_shift",
    lr=LrSearch(low=1e-5, high=1e-2, trials=12),
    epochs=50,
    patience=10,
    optimizer="adamw",
    weight_decay=1e-4,
    schedule="cosine",
    warmup=1,
)
sweep = Sweep(
    name="transfusion",
    cells=[
        cell for target, own in TARGETS.items() for cell in cells([0.02, 0.1, 0.3], dataset=target, **own, **RECIPE)
    ],
    probes=PROBES,
    allow_leakage="aptos2019 repeats photographs and does not tell its patients; none is left out",
)

# A small ResNet that has seen flowers, and a CBR net, on thumbnails of breast ultrasound.
tiny = dict(size=32, batch_size=32, schedule="cosine")
flowers = grid(dataset="flower_photos", model="resnet10t", fold=1, fraction=0.3, lr=2e-3, epochs=4, **tiny)
target = dict(
    dataset="breastmnist", seed=[0, 1], lr=LrSearch(low=1e-4, high=1e-2, trials=2, epochs=1), epochs=3, **tiny
)
small = [
    Sweep(
        name="transfusion_small_source",
        cells=flowers,
        allow_leakage="some of the photographs were uploaded twice; of these cells only the weights are used",
    ),
    Sweep(
        name="transfusion_small",
        cells=[
            *initialisations("resnet10t", flowers[0], stages=4, **target),
            *grid(model="cbr_mini", width=[8, 16], gabor=[None, Gabor()], fraction=[0.3, 1.0], **target),
        ],
        probes=PROBES,
        allow_leakage="BUSI, which BreastMNIST is made of, repeats images; the parts are kept as others use them",
    ),
]
