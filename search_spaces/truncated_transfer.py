"""Where to cut: Peng et al. 2023, Rethinking Transfer Learning for Medical Image Classification, and its form of 2021.

Question: which part of a pretrained network is worth having? Full transfer against truncated (TTL), slimmed (TF) and
layer-wise fine-tuned (LWFT) networks: first at the ends of ResNet-50's stages, then at the layers around the best of
these on validation (the main table, rows -1 and -2). All seventeen cuts with a pooled and with a flattened head feed
the pooling figure; `more` holds the other networks, the two sensitivity maps, the fixed features (FAT) and the shares
of training images of the 2021 form.

    uv run python -m sweeper.run search_spaces/truncated_transfer.py --plan
    uv run python -m sweeper.run search_spaces/truncated_transfer.py --small

Recipe: the authors' scripts: Adam at 1e-4, batch 256, cross-entropy weighted by inverse class frequency, the rate
halved when the validation loss has not fallen for 5 epochs, until it is below 1e-6 or 200 epochs are over; heads start
from a Kaiming normal; LWFT's backbone learns at a tenth of the rate and its frozen batch-norm statistics still move.

Chosen here: the loss that selects is that of the logits (theirs, of probabilities taken as logits, is
monitor="double_softmax_loss"); both rates of LWFT are used (theirs collapse into one under data parallelism); the
second stage is chosen by the validation AUPRC (theirs shows no rule). Of bimcv the three splits are the study's files,
of ham10000 and CheXpert, whose files are not published, folds of patients; images are stretched, not padded, to a
square. CLIP's ResNet-50 and BiT run too, by timm's names `resnet50_clip.openai` and `resnetv2_50x1_bit.goog_in21k`, and
are left out here because asking timm for their stages takes longer than a plan may.

Per target (bimcv, ham10000) 36 cells of the first stage, then up to 72 around the best, 102 for pooling and 255 of
`more`, which has 33 more of CheXpert, the large set of 2021 (13 of its 14 labels are in that figure). `medical` is the
study's source that is medical too: 3 networks trained on all labels of CheXpert, its high ones and its low ones,
uncertain ones counted as present, and 36 that begin with these on bimcv. The private set of 2021 is read by
`table:PATH`. A set that is not there stops the study before it trains: leave it out of TARGETS, and sweeps that name it
out of `sweeps`, and add them later; what has run by then is kept.
"""

from typing import Any

from sweeper import L2, Cell, Cka, Cost, GradCam, Sweep, best_rows, grid

BIMCV = dict(protocol="files:BIMCV/noisy")
TARGETS: dict[str, dict[str, Any]] = {"bimcv": BIMCV, "ham10000": dict()}
"""Target -> how it is cut, where it is not by the folds."""
ENDS = [4, 8, 14, 17]
"""Layers of ResNet-50 up to the end of each stage, the stem counted."""
LWFT = dict(backbone_decay=10.0, frozen_norms="learn")
"""What layer-wise fine-tuning adds; its first point freezes the stem alone, its last is a linear probe."""
METHODS = {"depth": dict(), "slim": dict(), "frozen": LWFT}
"""Axis that tells where a method cuts -> what else the method needs: TTL, TF and LWFT."""


def ends(points: list[int], **common: Any) -> list[Cell]:
    """TTL (the last point is full transfer), TF and LWFT at the ends of the stages."""
    at = {"depth": points, "slim": points[:-1], "frozen": [1, *points]}
    return [cell for axis, own in METHODS.items() for cell in grid(**{axis: at[axis]}, **own, **common)]


def on_targets(**axes: Any) -> list[Cell]:
    """A grid on each of the targets."""
    return [cell for target, own in TARGETS.items() for cell in grid(dataset=target, **own, **axes)]


def around_best(rows: list[dict[str, Any]], layers: int, **common: Any) -> list[Cell]:
    """For each target and method, the layers between the neighbours of its best point on validation."""
    found = []
    for axis, own in METHODS.items():
        mine = [row for row in rows if row[axis]]  # a method's rows alone have its axis
        tried = sorted({row[axis] for row in mine})
        for best in best_rows(mine, by=["dataset"], score="best_val_auprc"):
            place = tried.index(best[axis])
            low, high = [0, *tried][place], [*tried, layers][place + 1]
            points = [point for point in range(low + 1, high) if point not in tried]
            cut = TARGETS.get(best["dataset"], {})
            found += grid(dataset=best["dataset"], **{axis: points}, **cut, **own, **common)
    return found


RECIPE: dict[str, Any] = dict(
    fold=[1, 2, 3],
    size=224,
    augment="ttl",
    lr=1e-4,
    batch_size=256,
    epochs=200,
    schedule="plateau",
    factor=0.5,
    plateau=5,
    lr_floor=1e-6,
    monitor="loss",
    class_weights="balanced",
    head_start="kaiming",
)
RESNET = dict(model="resnet50.tv_in1k", source="imagenet", grain="layer", **RECIPE)
PROBES = [Cka(against="start"), L2(against="start"), Cost(), GradCam()]
"""Costs are columns of the main table; Grad-CAM shows the same images by each method."""
REPEATS = "bimcv has the study's own parts; ham10000 and CheXpert keep images that look alike, as was published"
blocks = Sweep(
    name="truncated_transfer",
    cells=[cell for target, own in TARGETS.items() for cell in ends(ENDS, dataset=target, **own, **RESNET)],
    probes=PROBES,
    allow_leakage=REPEATS,
)
layers = Sweep(
    name="truncated_transfer_layers",
    after=blocks,
    choose=lambda rows: around_best(rows, ENDS[-1], **RESNET),
    probes=PROBES,
    allow_leakage=REPEATS,
)
pooling = Sweep(
    name="truncated_transfer_pooling",
    cells=on_targets(depth=range(1, 18), head=["pool", "flatten"], **RESNET),
    allow_leakage=REPEATS,
)
CHEXPERT = RECIPE | dict(loss="bce")
CBRS = ["cbr_larget", "cbr_largew", "cbr_small", "cbr_tiny"]
DENSENETS = ["densenet121.tv_in1k", "densenet201.tv_in1k"]
TWO = ["densenet121.tv_in1k", "resnet50.tv_in1k"]
more = Sweep(
    name="truncated_transfer_more",
    cells=[
        *on_targets(model=DENSENETS, source="imagenet", depth=range(1, 5), head="flatten", **RECIPE),
        *on_targets(model="densenet201.tv_in1k", source="imagenet", slim=[1, 2, 3], **RECIPE),
        *on_targets(model="alexnet", source="imagenet", depth=range(1, 8), **RECIPE),
        *on_targets(model="efficientnet_b0.ra_in1k", source="imagenet", depth=range(1, 8), **RECIPE),
        # sensitivity: where fine-tuning starts by how much slower the backbone is; where slimming starts by how slim
        *on_targets(frozen=[1, *ENDS[:-1]], frozen_norms="learn", backbone_decay=[1, 2, 5, 10, 100], **RESNET),
        *on_targets(slim=ENDS[:-1], slim_factor=[2, 3, 4, 8], **RESNET),
        # fixed features: the cut backbone is not trained
        *(cell for end in ENDS for cell in on_targets(depth=end, frozen=end, **RESNET)),
        # 2021: from ImageNet or at random, on few images and on CheXpert
        *on_targets(model=TWO, source=["imagenet", "random"], fraction=[1.0, 0.1, 0.05], **RECIPE),
        *on_targets(model=CBRS, fraction=[1.0, 0.1, 0.05], **RECIPE),
        *grid(model=TWO, source=["imagenet", "random"], dataset="chexpert_u_ones", **CHEXPERT),
        *grid(model=TWO[0], source="imagenet", depth=[1, 2, 3], dataset="chexpert_u_ones", **CHEXPERT),
        *grid(model=CBRS, dataset="chexpert_u_ones", **CHEXPERT),
    ],
    allow_leakage=REPEATS,
)
FINDINGS = ["chexpert_u_ones", "chexpert_high_u_ones", "chexpert_low_u_ones"]
medical_sources = Sweep(
    name="truncated_transfer_medical_sources",
    cells=grid(dataset=FINDINGS, **RESNET | CHEXPERT | dict(fold=1)),
    allow_leakage="CheXpert repeats images; of these cells only the weights are used",
)
medical = Sweep(
    name="truncated_transfer_medical",
    cells=grid(
        dataset="bimcv",
        depth=ENDS,
        **BIMCV,
        **RESNET | dict(source=list(medical_sources.cells)),
    ),
    allow_leakage=REPEATS,
)
sweeps = [blocks, layers, pooling, more, medical_sources, medical]

# A small ResNet that has seen flowers, cut for CT, MRI and X-ray thumbnails.
tiny = dict(model="resnet18", size=32)
flowers = grid(dataset="flower_photos", fold=1, fraction=0.3, lr=2e-3, epochs=3, **tiny)
short = RECIPE | tiny | dict(fold=[1, 2], fraction=0.05, augment="flip", lr=1e-3, batch_size=64, epochs=2)
own = dict(source=flowers[0], grain="layer", **short)
SCANS = "slices of one scan and repeated images: the set does not tell its patients, and the study only has to run"
small_blocks = Sweep(
    name="truncated_transfer_small",
    cells=ends([3, 5, 7, 9], dataset="medical_mnist_64", **own),
    probes=PROBES,
    allow_leakage=SCANS,
)
small = [
    Sweep(
        name="truncated_transfer_small_source",
        cells=flowers,
        allow_leakage="some of the photographs were uploaded twice; of these cells only the weights are used",
    ),
    small_blocks,
    Sweep(
        name="truncated_transfer_small_layers",
        after=small_blocks,
        choose=lambda rows: around_best(rows, 9, **own),
        probes=PROBES,
        allow_leakage=SCANS,
    ),
]
