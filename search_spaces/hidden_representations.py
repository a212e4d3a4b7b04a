"""Natural or medical source: Juodelyte et al. 2023, Revisiting Hidden Representations in Transfer Learning.

Question: does RadImageNet transfer better than ImageNet, and do networks from both end up alike? ResNet-50 from either
source, fine-tuned at once or after a phase of its head alone, and from scratch, on five folds. Feeds the study's box
plot and table of AUC, its prediction similarity, the similarity of the two sources' networks and that against gain (CKA
stands in for its CCA, for which these validation parts are too small), and the first layer's filters.

    uv run python -m sweeper.run search_spaces/hidden_representations.py --plan
    uv run python -m sweeper.run search_spaces/hidden_representations.py --small

Recipe: the second version of the authors' code (defaults of `fine-tuning.py`): Adam at 1e-3, batch 256, 30 epochs, the
best validation loss, dropout 0.5 (none from scratch); the head phase with Adam at 1e-3 until the validation accuracy
has not risen for 10 epochs. Their loss, binary cross-entropy of a softmax over two classes, is the cross-entropy.

Folds are cut by the rule of that version, 80/15/5 % of whole patients, or 80/16/4 % of the images where a set tells no
patients. With the tables of lesions and of slides beside them isic2018 and pcam_small tell what the study's importers
did not ask for, and are cut by it. Images have the sizes of the study's own scripts; where these differ, the latest.

Chosen here: pixels are those of each source (they feed RadImageNet what Keras feeds ImageNet). ImageNet weights are
torchvision's, RadImageNet's are the authors' for PyTorch.

25 cells for each of the seven targets, 175 fine-tuned networks as in the study. The replication on RadImageNet's own
thyroid images is one more line, `ddti_graded` at 256 pixels. A set that is not there stops the study before it trains:
leave its line out of TARGETS, and add it later; what has run by then is kept.
"""

from typing import Any

from sweeper import L2, Agreement, Cell, Cka, Filters, Sweep, grid

TARGETS = {
    "ddti": dict(size=256, augment="keras"),
    "busi": dict(size=256, augment="keras"),
    "cbis_ddsm": dict(size=224, augment="keras"),
    "knee": dict(size=112, augment="keras"),
    "chest_xray": dict(size=112, augment="keras_noflip"),
    "isic2018": dict(size=112, augment="keras"),
    "pcam_small": dict(size=96, augment="keras"),
}
"""Target -> size of its images in pixels, and what training images undergo: all but chest X-rays are mirrored too."""


def cells(targets: dict[str, dict[str, Any]], *, sources: list, head_epochs: int, **common: Any) -> list[Cell]:
    """Each target from each source, at once and after so many epochs of the head alone, and from scratch."""
    head_first = dict(head_epochs=head_epochs, head_lr=1e-3, head_patience=10, head_monitor="accuracy")
    found = []
    for target, images in targets.items():
        own = dict(dataset=target, monitor="loss", **images, **common)
        found += grid(source=sources, dropout=0.5, **own)
        found += grid(source=sources, dropout=0.5, **own, **head_first)
        found += grid(source="random", **own)
    return found


PROBES = [Cka(against="start"), Cka(across="source"), L2(against="start"), Agreement(across="source"), Filters()]
sweep = Sweep(
    name="hidden_representations",
    cells=cells(
        TARGETS,
        sources=["imagenet", "radimagenet"],
        model="resnet50.tv_in1k",
        protocol="hidden_v2",
        fold=range(1, 6),
        lr=1e-3,
        batch_size=256,
        epochs=30,
        patience=30,
        head_epochs=30,
    ),
    probes=PROBES,
    allow_leakage="several of the sets repeat images, across patients too; the authors kept them",
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
        cells=cells(
            {"breastmnist": dict(size=32, augment="flip")}, sources=sources, fold=[1, 2], head_epochs=2, **tiny
        ),
        probes=PROBES,
        allow_leakage="BUSI, which BreastMNIST is made of, repeats images; the parts are kept as others use them",
    ),
]
