"""Natural or medical source: Juodelyte et al. 2023, Revisiting Hidden Representations in Transfer Learning.

Question: does RadImageNet transfer better than ImageNet, and do networks from both end up alike? ResNet-50 from either
source, fine-tuned at once or after a phase of its head alone, and from scratch, on five folds. Feeds the study's box
plot and table of AUC, its prediction similarity and its similarity against gain (CKA stands in for its CCA).

    uv run python -m sweeper.run search_spaces/hidden_representations.py --plan
    uv run python -m sweeper.run search_spaces/hidden_representations.py --small

Recipe: the second version of the authors' code (defaults of `fine-tuning.py`): Adam at 1e-3, batch 256, 30 epochs, the
best validation loss, dropout 0.5 (none from scratch); the head phase with Adam at 1e-3 until the validation accuracy
has not risen for 10 epochs. Their loss, binary cross-entropy of a softmax over two classes, is the cross-entropy.

Chosen here: folds are 60/20/20 % of whole patients (theirs 80/15/5). Pixels are those of each source (they feed
RadImageNet what Keras feeds ImageNet). Flips and shifts stand in for their rotations, shifts, shears, zooms and flips.
ImageNet weights are torchvision's, RadImageNet's are the authors' for PyTorch.

25 cells a target: 50 for the two of the study's seven targets that stand in TARGETS, 175 for all. The others, with the
study's image sizes: ddti 256, cbis_ddsm 224, knee 112, isic2018 112, pcam_small 96; each is a line there.
"""

from typing import Any

from sweeper import L2, Cell, Cka, Sweep, grid

TARGETS = {"busi": 256, "chest_xray": 112}
"""Target -> size of its images in pixels."""


def cells(targets: dict[str, int], *, sources: list, head_epochs: int, **common: Any) -> list[Cell]:
    """Each target from each source, at once and after so many epochs of the head alone, and from scratch."""
    head_first = dict(head_epochs=head_epochs, head_lr=1e-3, head_patience=10, head_monitor="accuracy")
    found = []
    for target, size in targets.items():
        own = dict(dataset=target, size=size, monitor="loss", **common)
        found += grid(source=sources, dropout=0.5, **own)
        found += grid(source=sources, dropout=0.5, **own, **head_first)
        found += grid(source="random", **own)
    return found


PROBES = [Cka(against="start"), L2(against="start")]
sweep = Sweep(
    name="hidden_representations",
    cells=cells(
        TARGETS,
        sources=["imagenet", "radimagenet"],
        model="resnet50.tv_in1k",
        fold=range(1, 6),
        augment="flip_shift",
        lr=1e-3,
        batch_size=256,
        epochs=30,
        patience=30,
        head_epochs=30,
    ),
    probes=PROBES,
    allow_leakage="both sets repeat some images, across patients too; the authors kept them",
)

# A small network that has seen flowers, or other medical images, and thumbnails of breast ultrasound.
tiny = dict(model="resnet10t", lr=1e-3, epochs=3)
sources = grid(dataset=["flower_photos", "medical_mnist_64"], fold=1, fraction=0.3, size=32, **tiny)
small = [
    Sweep(
        name="hidden_representations_small_sources",
        cells=sources,
        allow_leakage="both sets repeat some of their images; of these cells only the weights are used",
    ),
    Sweep(
        name="hidden_representations_small",
        cells=cells({"breastmnist": 32}, sources=sources, fold=[1, 2], augment="flip", head_epochs=2, **tiny),
        probes=PROBES,
        allow_leakage="BUSI, which BreastMNIST is made of, repeats images; the parts are kept as others use them",
    ),
]
