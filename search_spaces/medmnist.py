"""Natural or medical source, and how much of it: BreastMNIST and PneumoniaMNIST at 28 pixels.

Each model is first trained on photographs of flowers and on six kinds of CT, MRI and X-ray images; the targets then
start from one of these or at random, cut after 2, 3 or 4 blocks, on a tenth or all of the training images, with three
seeds. The official parts of MedMNIST are used; the rate of a setting is found on its first seed.

    SWEEPER_DATA=<folder of the image sets> uv run python -m sweeper.run search_spaces/medmnist.py

Test AUROC, mean ± sd (ddof 1) over three seeds; `fraction` of the training images, `depth` in blocks kept; columns are
the sources. Commit bcc2487, torch 2.15, 4 CPU cores shared with other work: 216 + 4 cells, 288 rate trials and all
probes in 31 minutes; 45 minutes of device time for the 216 cells. The sources reached a test accuracy of 0.71 and
0.70 on flower_photos and 0.999 on medical_mnist_64 (`cbr_mini`, `resnet10t`). Many of the rates found lie at the
upper end of the range.

    target          model      fraction depth  random         flower_photos  medical_mnist_64
    breastmnist     cbr_mini        0.1     2  0.715 ± 0.047  0.702 ± 0.100  0.731 ± 0.055
    breastmnist     cbr_mini        0.1     3  0.719 ± 0.060  0.779 ± 0.056  0.792 ± 0.011
    breastmnist     cbr_mini        0.1     4  0.694 ± 0.091  0.774 ± 0.021  0.708 ± 0.108
    breastmnist     cbr_mini        1.0     2  0.809 ± 0.009  0.806 ± 0.011  0.802 ± 0.009
    breastmnist     cbr_mini        1.0     3  0.816 ± 0.034  0.855 ± 0.006  0.861 ± 0.008
    breastmnist     cbr_mini        1.0     4  0.841 ± 0.035  0.869 ± 0.015  0.876 ± 0.009
    breastmnist     resnet10t       0.1     2  0.661 ± 0.089  0.739 ± 0.027  0.694 ± 0.015
    breastmnist     resnet10t       0.1     3  0.664 ± 0.042  0.738 ± 0.018  0.750 ± 0.027
    breastmnist     resnet10t       0.1     4  0.536 ± 0.102  0.632 ± 0.018  0.603 ± 0.064
    breastmnist     resnet10t       1.0     2  0.864 ± 0.012  0.867 ± 0.012  0.868 ± 0.012
    breastmnist     resnet10t       1.0     3  0.893 ± 0.010  0.891 ± 0.019  0.917 ± 0.013
    breastmnist     resnet10t       1.0     4  0.868 ± 0.030  0.893 ± 0.012  0.858 ± 0.018
    pneumoniamnist  cbr_mini        0.1     2  0.907 ± 0.012  0.928 ± 0.008  0.937 ± 0.003
    pneumoniamnist  cbr_mini        0.1     3  0.925 ± 0.023  0.941 ± 0.016  0.948 ± 0.005
    pneumoniamnist  cbr_mini        0.1     4  0.916 ± 0.013  0.948 ± 0.016  0.937 ± 0.005
    pneumoniamnist  cbr_mini        1.0     2  0.954 ± 0.003  0.955 ± 0.001  0.955 ± 0.002
    pneumoniamnist  cbr_mini        1.0     3  0.961 ± 0.002  0.961 ± 0.004  0.960 ± 0.005
    pneumoniamnist  cbr_mini        1.0     4  0.967 ± 0.003  0.966 ± 0.003  0.964 ± 0.000
    pneumoniamnist  resnet10t       0.1     2  0.907 ± 0.004  0.931 ± 0.009  0.934 ± 0.014
    pneumoniamnist  resnet10t       0.1     3  0.913 ± 0.032  0.930 ± 0.014  0.931 ± 0.006
    pneumoniamnist  resnet10t       0.1     4  0.909 ± 0.017  0.931 ± 0.013  0.906 ± 0.007
    pneumoniamnist  resnet10t       1.0     2  0.966 ± 0.005  0.965 ± 0.006  0.967 ± 0.002
    pneumoniamnist  resnet10t       1.0     3  0.962 ± 0.007  0.965 ± 0.003  0.962 ± 0.003
    pneumoniamnist  resnet10t       1.0     4  0.952 ± 0.004  0.960 ± 0.003  0.961 ± 0.008

On a tenth of the labels a source helps almost everywhere (mean gain in AUROC over random: BreastMNIST 0.06 from flowers
and 0.05 from medical images, PneumoniaMNIST 0.02 from either); on all labels little (0.015 and 0.002). Flowers serve as
well as medical images. Three seeds and one official split: differences of the size of the sd above are not findings.
"""

from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid

MODELS = ["cbr_mini", "resnet10t"]
common = dict(size=28, batch_size=64, optimizer="adamw", weight_decay=1e-2, schedule="cosine")

sources = Sweep(
    name="medmnist_sources",
    cells=grid(
        dataset=["flower_photos", "medical_mnist_64"],
        model=MODELS,
        fold=1,
        augment="flip",
        lr=2e-3,
        epochs=10,
        **common,
    ),
    register="medmnist_source",
    allow_leakage="both sets repeat some of their images; of these cells only the weights are used",
)


def targets(model: str) -> list:
    """The cells of one model: a source must have the same architecture."""
    own = [cell for cell in sources.cells if cell.network.model == model]
    return grid(
        dataset=["breastmnist", "pneumoniamnist"],
        model=model,
        source=[*own, "random"],
        depth=[2, 3, 4],
        fraction=[0.1, 1.0],
        seed=range(3),
        lr=LrSearch(low=1e-4, high=1e-2, trials=4, epochs=3),
        epochs=6,
        **common,
    )


study = Sweep(
    name="medmnist",
    cells=targets("cbr_mini") + targets("resnet10t"),
    probes=[Cka(against="start"), Knn(k=20), L2(against="start")],
    allow_leakage="the official parts share images: 8 in PneumoniaMNIST, and some 40 near-duplicates in BreastMNIST",
)
sweeps = [sources, study]
