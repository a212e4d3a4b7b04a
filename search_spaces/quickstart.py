"""A whole study in minutes, on real images that need no download: scikit-learn's handwritten digits.

Question: does a network that has learnt the digits 0-4 help to learn 5-9 from few labels, and how much of it is needed?
A source is trained on 0-4; every target cell then starts from it or at random, cut after 2, 3 or 4 blocks, on 10 % or
50 % of the training images, with three seeds. One learning rate is found per setting and shared by its seeds.
"""

from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid

common = dict(model="cbr_mini", fold=1, size=16, batch_size=16)

pretrain = Sweep(
    name="quickstart_source",
    cells=grid(dataset="digits_0_4", lr=3e-3, epochs=8, **common),
    register="digits_0_4",
)
transfer = Sweep(
    name="quickstart",
    cells=grid(
        dataset="digits_5_9",
        source=[pretrain.cells[0], "random"],
        depth=[2, 3, 4],
        fraction=[0.1, 0.5],
        seed=range(3),
        lr=LrSearch(low=1e-4, high=3e-2, trials=4),
        epochs=12,
        **common,
    ),
    probes=[Cka(against="start"), Knn(k=20), L2(against="start")],
)
sweeps = [pretrain, transfer]
