"""Natural or medical source, and how much of it: BreastMNIST and PneumoniaMNIST at 28 pixels.

Each model is first trained on photographs of flowers and on six kinds of CT, MRI and X-ray images; the targets then
start from one of these or at random, cut after 2, 3 or 4 blocks, on a tenth or all of the training images, with three
seeds. The official parts of MedMNIST are used; the rate of a setting is found on its first seed.

    SWEEPER_DATA=<folder of the image sets> uv run python -m sweeper.run search_spaces/medmnist.py
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
)
sweeps = [sources, study]
