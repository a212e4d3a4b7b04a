"""Features or statistics: Matsoukas et al. 2022, What Makes Transfer Learning Work For Medical Images.

Question: is the gain of ImageNet weights due to reused features, or to their statistics alone, and how does that differ
between transformers and convolutional nets? Random (RI), statistics (ST) and full (WT) starts of four models, five
times: Table 1 and the dot figure; features up to layer n and statistics above it (WT-ST-n): the sweep, the layer-wise
k-NN, re-initialisation, CKA and L2 lines, and convergence. Model capacity, DINO against supervised weights, and a
DeiT-S cut after five blocks feed the appendix.

    uv run python -m sweeper.run search_spaces/feature_reuse.py --plan
    uv run python -m sweeper.run search_spaces/feature_reuse.py --small

Recipe: the study's `params.json`: Adam with weight decay 1e-5, batch 64, a warm-up of 1000 steps, the rate divided by
10 when the validation metric has not risen for 3 epochs, gradients clipped at norm 1, two validations an epoch, images
normalised by the data set, grey images through the filters of the red channel. The rate is the best of its 25
log-spaced ones from 1e-5 to 1e-2, each tried for 5 epochs without schedule. Training images undergo the crops, flips
and colour changes that the file switches on. aptos2019 and isic2019 are drawn image by image with seed 42, 70/15/15 and
80/10/10 %, pcam and ddsm have their official parts, and CheXpert's uncertain findings count as absent.

Chosen here, where the file is silent or holds a placeholder: 50 epochs; one rate for all runs of a start and, of ST and
WT-ST-n, for all n; the number of a run is the seed, and all runs are of one split, as theirs are. CheXpert is drawn
80/10/10 % by patient; theirs are the same shares of the patients in the order of their numbers, and overlap by a row.

355 cells for each of five targets, 1775 in all: 60 for Table 1, 185 for WT-ST-n, 110 for the rest. A set that is not
there stops the study before it trains: leave its line out of TARGETS, and add it later; what has run by then is kept.
"""

from typing import Any

from sweeper import L2, Cell, Cka, Embedding, Knn, LrSearch, Reinit, Sweep, grid, study_index, study_indices

TARGETS: dict[str, dict[str, Any]] = {
    "aptos2019": dict(protocol="random_70_15_15_images"),
    "ddsm": dict(protocol="official_images", input="red"),
    "isic2019": dict(protocol="random_80_10_10_images"),
    "chexpert_u_zeros": dict(protocol="random_80_10_10", input="red", loss="bce"),
    "pcam": dict(protocol="official_images"),
}
"""Target -> how it is cut, what the first layer takes where it is grey, and the loss where it has several labels."""
MODELS = [
    "deit_small_patch16_224.fb_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "inception_v3.tv_in1k",
    "resnet50.tv_in1k",
]
CAPACITY = [
    "deit_tiny_patch16_224.fb_in1k",
    "deit_base_patch16_224.fb_in1k",
    "swin_small_patch4_window7_224.ms_in1k",
    "swin_base_patch4_window7_224.ms_in1k",
    "resnet18.tv_in1k",
    "resnet152.tv_in1k",
]


def starts(model: str, source: Any, **common: Any) -> list[Cell]:
    """RI, WT, ST and WT-ST-n for every n of a model."""
    own = dict(model=model, **common)
    found = grid(source="random", **own) + grid(source=source, **own)
    for t in study_indices(model)[:-1]:  # the last one is WT
        found += grid(source=source, **study_index(model, t), **own)
    return found


def cells(targets: dict[str, dict[str, Any]], **recipe: Any) -> list[Cell]:
    """The whole study on these targets."""
    found = []
    for target, own in targets.items():
        common = dict(dataset=target, pixels="dataset", **own, **recipe)
        for model in MODELS:
            found += starts(model, "imagenet", **common)
        found += grid(model=CAPACITY, source=["random", "imagenet"], **common)
        for model in CAPACITY:
            found += grid(model=model, source="imagenet", **study_index(model, -2), **common)
        found += grid(model=["deit_small_patch16_224", "resnet50"], source="dino", **common)
        found += grid(model=MODELS[0], depth=5, source=["random", "imagenet"], **common)
    return found


PROBES = [
    Cka(against="start"),
    Knn(k=200),
    L2(against="start"),
    Reinit(),
    Embedding(method="tsne", stimuli=500),  # the study's is UMAP, for which another library has to be installed
]
RECIPE: dict[str, Any] = dict(
    lr=LrSearch(
        low=1e-5,
        high=1e-2,
        trials=25,
        method="grid",
        epochs=5,
        schedule="constant",
        share=("seed", "fold", "blocks", "norms"),
    ),
    epochs=50,
    batch_size=64,
    weight_decay=1e-5,
    warmup_steps=1000,
    schedule="plateau",
    plateau=7,  # validations: the rate falls at the fourth epoch without a rise
    validations=2,
    clip=1.0,
)
sweep = Sweep(
    name="feature_reuse",
    cells=cells(TARGETS, seed=range(1, 6), size=224, augment="feature_reuse", **RECIPE),
    probes=PROBES,
    allow_leakage="the study draws aptos2019 and isic2019 by image, not by lesion, and keeps repeated images",
)

# The four starts of a small ResNet that has seen flowers, on thumbnails of breast ultrasound.
tiny = dict(size=32, batch_size=32)
flowers = grid(dataset="flower_photos", model="resnet10t", fold=1, fraction=0.3, lr=2e-3, epochs=4, **tiny)
search = LrSearch(low=1e-4, high=1e-2, trials=3, method="grid", epochs=1, share=("seed", "fold", "blocks", "norms"))
short = RECIPE | dict(lr=search, epochs=3, warmup_steps=5)
small = [
    Sweep(
        name="feature_reuse_small_source",
        cells=flowers,
        allow_leakage="some of the photographs were uploaded twice; of these cells only the weights are used",
    ),
    Sweep(
        name="feature_reuse_small",
        cells=starts("resnet10t", flowers[0], dataset="breastmnist", pixels="dataset", seed=[1, 2], **short | tiny),
        probes=PROBES,
        allow_leakage="BUSI, which BreastMNIST is made of, repeats images; the parts are kept as others use them",
    ),
]
