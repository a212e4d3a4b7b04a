"""What Juodelyte et al. 2023 published as tables, to 4 decimals, and what the article says of it.

Of AUC, and of CCA before and after fine-tuning, every fold; of the rest the means over folds, with folds drawn around.
"""

from pathlib import Path

import pandas as pd

from analysis import foreign

FOLDS = [f"fold{number}" for number in range(1, 6)]
AUC: dict[tuple[str, str, str], tuple[float, ...]] = {
    ("thyroid", "ImageNet", "freezeFalse"): (0.6342, 0.5637, 0.5328, 0.4874, 0.3968),
    ("thyroid", "ImageNet", "freezeTrue"): (0.6098, 0.5738, 0.6418, 0.5925, 0.5060),
    ("thyroid", "RadImageNet", "freezeFalse"): (0.4501, 0.4646, 0.5341, 0.5268, 0.5343),
    ("thyroid", "RadImageNet", "freezeTrue"): (0.4239, 0.4473, 0.5402, 0.4953, 0.5630),
    ("thyroid", "random", "freezeFalse"): (0.5831, 0.5219, 0.4855, 0.4754, 0.5806),
    ("breast", "ImageNet", "freezeFalse"): (0.8983, 0.9566, 0.9261, 0.8914, 0.8546),
    ("breast", "ImageNet", "freezeTrue"): (0.8619, 0.9179, 0.9269, 0.9148, 0.8686),
    ("breast", "RadImageNet", "freezeFalse"): (0.8812, 0.8185, 0.9376, 0.8858, 0.8895),
    ("breast", "RadImageNet", "freezeTrue"): (0.8699, 0.5650, 0.9480, 0.4229, 0.8129),
    ("breast", "random", "freezeFalse"): (0.4967, 0.4524, 0.3901, 0.6422, 0.5775),
    ("chest", "ImageNet", "freezeFalse"): (0.9924, 0.9852, 0.9900, 0.9857, 0.9828),
    ("chest", "ImageNet", "freezeTrue"): (0.9906, 0.9875, 0.9874, 0.9868, 0.9755),
    ("chest", "RadImageNet", "freezeFalse"): (0.9857, 0.9895, 0.9886, 0.9898, 0.9870),
    ("chest", "RadImageNet", "freezeTrue"): (0.9887, 0.9900, 0.9867, 0.9879, 0.9822),
    ("chest", "random", "freezeFalse"): (0.8254, 0.8205, 0.8148, 0.8406, 0.8225),
    ("mammograms", "ImageNet", "freezeFalse"): (0.6429, 0.6432, 0.5669, 0.6339, 0.6849),
    ("mammograms", "ImageNet", "freezeTrue"): (0.6876, 0.6873, 0.6577, 0.7128, 0.6923),
    ("mammograms", "RadImageNet", "freezeFalse"): (0.4684, 0.5090, 0.6797, 0.7249, 0.7173),
    ("mammograms", "RadImageNet", "freezeTrue"): (0.6708, 0.5525, 0.6892, 0.7119, 0.6845),
    ("mammograms", "random", "freezeFalse"): (0.4618, 0.5498, 0.4920, 0.4638, 0.5133),
    ("knee", "ImageNet", "freezeFalse"): (0.9069, 0.9032, 0.9308, 0.9166, 0.9175),
    ("knee", "ImageNet", "freezeTrue"): (0.8964, 0.8356, 0.8986, 0.9102, 0.9105),
    ("knee", "RadImageNet", "freezeFalse"): (0.7885, 0.8814, 0.9266, 0.9481, 0.9202),
    ("knee", "RadImageNet", "freezeTrue"): (0.6491, 0.5631, 0.5973, 0.6867, 0.6947),
    ("knee", "random", "freezeFalse"): (0.7861, 0.6945, 0.5856, 0.5550, 0.7931),
    ("isic", "ImageNet", "freezeFalse"): (0.9527, 0.9288, 0.9499, 0.9517, 0.9263),
    ("isic", "ImageNet", "freezeTrue"): (0.9500, 0.9022, 0.9470, 0.9479, 0.9098),
    ("isic", "RadImageNet", "freezeFalse"): (0.9114, 0.8941, 0.9067, 0.9142, 0.9132),
    ("isic", "RadImageNet", "freezeTrue"): (0.9120, 0.8958, 0.9043, 0.9108, 0.9076),
    ("isic", "random", "freezeFalse"): (0.8509, 0.8200, 0.8428, 0.8697, 0.8143),
    ("pcam-small", "ImageNet", "freezeFalse"): (0.9372, 0.9476, 0.9213, 0.9483, 0.9378),
    ("pcam-small", "ImageNet", "freezeTrue"): (0.9475, 0.9335, 0.9430, 0.9475, 0.8883),
    ("pcam-small", "RadImageNet", "freezeFalse"): (0.8867, 0.8973, 0.8364, 0.8713, 0.8655),
    ("pcam-small", "RadImageNet", "freezeTrue"): (0.8681, 0.8731, 0.8448, 0.8367, 0.8788),
    ("pcam-small", "random", "freezeFalse"): (0.6964, 0.6769, 0.8289, 0.6517, 0.8158),
}
KEPT: dict[tuple[str, str], tuple[tuple[float, ...], ...]] = {
    ("breast", "ImageNet"): (
        (0.8953, 0.8966, 0.8104, 0.6027, 0.3739),
        (0.8733, 0.8659, 0.7658, 0.5286, 0.3146),
        (0.9124, 0.9350, 0.8724, 0.7272, 0.5070),
        (0.8948, 0.9148, 0.8352, 0.6388, 0.4054),
        (0.9034, 0.9278, 0.8580, 0.6875, 0.4475),
    ),
    ("isic", "ImageNet"): (
        (0.8306, 0.8063, 0.7228, 0.4769, 0.2415),
        (0.8342, 0.8086, 0.7327, 0.4824, 0.2300),
        (0.8323, 0.8114, 0.7280, 0.4798, 0.2278),
        (0.8223, 0.8042, 0.7322, 0.4889, 0.2361),
        (0.8440, 0.8123, 0.7270, 0.4778, 0.2241),
    ),
    ("pcam-small", "ImageNet"): (
        (0.8552, 0.8350, 0.7275, 0.4971, 0.2317),
        (0.8606, 0.8388, 0.7232, 0.4842, 0.2241),
        (0.8576, 0.8341, 0.7256, 0.4994, 0.2381),
        (0.8578, 0.8355, 0.7225, 0.4904, 0.2308),
        (0.8535, 0.8358, 0.7263, 0.4993, 0.2318),
    ),
    ("chest", "ImageNet"): (
        (0.9166, 0.8711, 0.7236, 0.4507, 0.2390),
        (0.9221, 0.8715, 0.7254, 0.4372, 0.2214),
        (0.9204, 0.8745, 0.7256, 0.4364, 0.2222),
        (0.9200, 0.8718, 0.7248, 0.4441, 0.2226),
        (0.9178, 0.8725, 0.7234, 0.4314, 0.2237),
    ),
    ("thyroid", "ImageNet"): (
        (0.8692, 0.8625, 0.7685, 0.5736, 0.3272),
        (0.9549, 0.9675, 0.9309, 0.8313, 0.6076),
        (0.9522, 0.9663, 0.9277, 0.8427, 0.6230),
        (0.9944, 0.9950, 0.9896, 0.9713, 0.9022),
        (0.9819, 0.9852, 0.9698, 0.9185, 0.7748),
    ),
    ("knee", "ImageNet"): (
        (0.8643, 0.8314, 0.7260, 0.5363, 0.2652),
        (0.8607, 0.8267, 0.7107, 0.5127, 0.2502),
        (0.8672, 0.8330, 0.7258, 0.5400, 0.2573),
        (0.8634, 0.8349, 0.7279, 0.5322, 0.2520),
        (0.8667, 0.8353, 0.7261, 0.5308, 0.2528),
    ),
    ("mammograms", "ImageNet"): (
        (0.8915, 0.7674, 0.5940, 0.4178, 0.2387),
        (0.9000, 0.7799, 0.6031, 0.4393, 0.2503),
        (0.9482, 0.8867, 0.7669, 0.6393, 0.4475),
        (0.8908, 0.7556, 0.5950, 0.4300, 0.2493),
        (0.9037, 0.7734, 0.5976, 0.4382, 0.2554),
    ),
    ("breast", "RadImageNet"): (
        (0.7106, 0.3754, 0.2808, 0.2167, 0.1952),
        (0.6994, 0.3853, 0.2772, 0.2054, 0.1922),
        (0.6842, 0.3799, 0.2774, 0.2189, 0.2017),
        (0.7056, 0.3859, 0.2793, 0.2188, 0.2036),
        (0.6858, 0.3762, 0.2745, 0.2180, 0.2013),
    ),
    ("isic", "RadImageNet"): (
        (0.6258, 0.4624, 0.3383, 0.2820, 0.2927),
        (0.6536, 0.4708, 0.3412, 0.2806, 0.3349),
        (0.6170, 0.4511, 0.3451, 0.2767, 0.3269),
        (0.6270, 0.4604, 0.3436, 0.2786, 0.3357),
        (0.6257, 0.4622, 0.3443, 0.2852, 0.3236),
    ),
    ("pcam-small", "RadImageNet"): (
        (0.7190, 0.3993, 0.3005, 0.2662, 0.2764),
        (0.7217, 0.4145, 0.3036, 0.2517, 0.2752),
        (0.7082, 0.4145, 0.3048, 0.2557, 0.2717),
        (0.7034, 0.4081, 0.3018, 0.2428, 0.2724),
        (0.6932, 0.4081, 0.3058, 0.2544, 0.2904),
    ),
    ("chest", "RadImageNet"): (
        (0.8503, 0.4106, 0.3349, 0.3366, 0.3518),
        (0.8589, 0.4264, 0.3292, 0.3337, 0.3490),
        (0.8411, 0.4207, 0.3269, 0.3357, 0.3410),
        (0.8588, 0.4223, 0.3295, 0.3397, 0.3333),
        (0.8500, 0.4223, 0.3264, 0.3360, 0.3451),
    ),
    ("thyroid", "RadImageNet"): (
        (0.7842, 0.5456, 0.4715, 0.3864, 0.3147),
        (0.7971, 0.5560, 0.4743, 0.3711, 0.3053),
        (0.8231, 0.5710, 0.4941, 0.4670, 0.4054),
        (0.7977, 0.5407, 0.4706, 0.3802, 0.3146),
        (0.7884, 0.5447, 0.4794, 0.3810, 0.3140),
    ),
    ("knee", "RadImageNet"): (
        (0.6769, 0.3940, 0.3284, 0.3205, 0.3718),
        (0.6645, 0.3971, 0.3355, 0.3264, 0.3773),
        (0.6667, 0.3952, 0.3375, 0.3311, 0.4087),
        (0.6572, 0.4001, 0.3408, 0.3305, 0.3901),
        (0.6625, 0.3986, 0.3373, 0.3268, 0.4170),
    ),
    ("mammograms", "RadImageNet"): (
        (0.9732, 0.6119, 0.5475, 0.3689, 0.3260),
        (0.9713, 0.6116, 0.5400, 0.3674, 0.3297),
        (0.9498, 0.5549, 0.4823, 0.3054, 0.2705),
        (0.9463, 0.5757, 0.4831, 0.2969, 0.2854),
        (0.9510, 0.5586, 0.4800, 0.2924, 0.2614),
    ),
}
"""CCA before and after fine-tuning: of each target and source, per fold, conv1 and block1 to block4."""

MEAN_AUC = {
    "thyroid": ("52.3 8.85", "58.5 5.06", "50.2 4.12", "49.4 5.91", "52.9 5.10"),
    "breast": ("90.5 3.83", "89.8 3.03", "88.2 4.24", "72.4 22.10", "51.2 9.99"),
    "chest": ("98.7 .39", "98.6 .58", "98.8 .17", "98.7 .30", "82.5 .97"),
    "mammograms": ("63.4 4.26", "68.8 1.97", "62.0 12.18", "66.2 6.29", "49.6 3.68"),
    "knee": ("91.5 1.08", "89.0 3.12", "89.3 6.32", "63.8 5.70", "68.3 11.04"),
    "isic": ("94.2 1.32", "93.1 2.34", "90.8 .83", "90.6 .65", "84.0 2.27"),
    "pcam-small": ("93.8 1.09", "93.2 2.51", "87.1 2.33", "86.0 1.85", "73.4 8.23"),
}
"""Published mean and sd of AUC x 100: ImageNet at once and head first, RadImageNet likewise, random."""
CORRELATIONS = {
    "imagenet": (-0.158, -0.029, -0.067, -0.096, -0.130),
    "radimagenet": (-0.151, -0.454, -0.430, -0.558, -0.469),
}
"""Published r of CCA and gain, conv1 and block1 to block4."""
MEAN_CCA = {
    ("thyroid", "ImageNet"): (0.951, 0.955, 0.917, 0.827, 0.647),
    ("breast", "ImageNet"): (0.896, 0.908, 0.828, 0.637, 0.410),
    ("chest", "ImageNet"): (0.919, 0.872, 0.725, 0.440, 0.226),
    ("mammograms", "ImageNet"): (0.907, 0.793, 0.631, 0.473, 0.288),
    ("knee", "ImageNet"): (0.864, 0.832, 0.723, 0.530, 0.255),
    ("isic", "ImageNet"): (0.833, 0.809, 0.729, 0.481, 0.232),
    ("pcam-small", "ImageNet"): (0.857, 0.836, 0.725, 0.494, 0.231),
    ("thyroid", "RadImageNet"): (0.798, 0.552, 0.478, 0.397, 0.331),
    ("breast", "RadImageNet"): (0.697, 0.381, 0.278, 0.216, 0.199),
    ("chest", "RadImageNet"): (0.852, 0.420, 0.329, 0.336, 0.344),
    ("mammograms", "RadImageNet"): (0.958, 0.583, 0.507, 0.326, 0.295),
    ("knee", "RadImageNet"): (0.666, 0.397, 0.336, 0.327, 0.393),
    ("isic", "RadImageNet"): (0.630, 0.461, 0.342, 0.281, 0.323),
    ("pcam-small", "RadImageNet"): (0.709, 0.409, 0.303, 0.254, 0.277),
}
"""Published means over folds."""
SOURCES_ALIKE = {
    "thyroid": (
        (0.577, 0.403, 0.417, 0.365, 0.346),
        (0.574, 0.377, 0.300, 0.235, 0.187),
        (0.560, 0.417, 0.435, 0.433, 0.439),
    ),
    "breast": (
        (0.540, 0.335, 0.280, 0.228, 0.165),
        (0.562, 0.361, 0.272, 0.183, 0.161),
        (0.592, 0.401, 0.385, 0.389, 0.380),
    ),
    "chest": (
        (0.535, 0.352, 0.319, 0.318, 0.275),
        (0.554, 0.385, 0.313, 0.227, 0.161),
        (0.579, 0.426, 0.413, 0.421, 0.416),
    ),
    "mammograms": (
        (0.646, 0.492, 0.469, 0.309, 0.238),
        (0.646, 0.467, 0.401, 0.287, 0.176),
        (0.617, 0.481, 0.460, 0.445, 0.433),
    ),
    "knee": (
        (0.564, 0.357, 0.348, 0.324, 0.286),
        (0.573, 0.387, 0.303, 0.229, 0.165),
        (0.551, 0.364, 0.361, 0.365, 0.364),
    ),
    "isic": (
        (0.560, 0.356, 0.288, 0.260, 0.201),
        (0.558, 0.360, 0.274, 0.213, 0.173),
        (0.542, 0.472, 0.458, 0.464, 0.456),
    ),
    "pcam-small": (
        (0.531, 0.298, 0.251, 0.231, 0.188),
        (0.534, 0.350, 0.261, 0.178, 0.140),
        (0.498, 0.307, 0.318, 0.351, 0.318),
    ),
}
"""Published means over folds: ImageNet and RadImageNet before and after fine-tuning, and two random networks."""
MISTAKES = {
    ("thyroid", "freezeFalse"): (0.633, 0.528),
    ("thyroid", "freezeTrue"): (0.431, 0.521),
    ("breast", "freezeFalse"): (0.823, 0.740),
    ("breast", "freezeTrue"): (0.779, 0.747),
    ("chest", "freezeFalse"): (0.954, 0.920),
    ("chest", "freezeTrue"): (0.946, 0.910),
    ("mammograms", "freezeFalse"): (0.626, 0.525),
    ("mammograms", "freezeTrue"): (0.619, 0.536),
    ("knee", "freezeFalse"): (0.906, 0.796),
    ("knee", "freezeTrue"): (0.825, 0.771),
    ("isic", "freezeFalse"): (0.844, 0.659),
    ("isic", "freezeTrue"): (0.841, 0.653),
    ("pcam-small", "freezeFalse"): (0.834, 0.688),
    ("pcam-small", "freezeTrue"): (0.822, 0.675),
}
"""Published means over folds: observed, and as coded for independent networks."""
_STEPS = (-0.02, -0.01, 0.0, 0.01, 0.02)


def write(folder: Path) -> Path:
    """The study's `results` folder."""
    folder.mkdir(parents=True, exist_ok=True)
    auc = [(*setting, f, v) for setting, values in AUC.items() for f, v in zip(FOLDS, values, strict=True)]
    pd.DataFrame(auc, columns=["target", "source", "freeze", "fold", "AUC"]).to_csv(folder / "AUC.csv", index=False)
    for source, name in (("ImageNet", "ImNet"), ("RadImageNet", "RadNet")):
        rows = [row for (target, of), folds in KEPT.items() if of == source for row in _kept(target, of, folds)]
        _cca(rows).to_csv(folder / f"simVSauc{name}.csv", index=False)
    for target, pairs in SOURCES_ALIKE.items():
        rows = [row for (t, of), folds in KEPT.items() if t == target for row in _kept(t, of, folds)]
        rows += [
            (*pair, fold, target, *(mean + step for mean in means))
            for pair, means in zip(_pairs(target), pairs, strict=True)
            for fold, step in zip(FOLDS, _STEPS, strict=True)
        ]
        _cca(rows).to_csv(folder / f"CCA_{target}.csv", index=False)
    mistakes = [
        (target, "ImageNet", "RadImageNet", freeze, fold, prob, mean + step)
        for (target, freeze), means in MISTAKES.items()
        for prob, mean in zip(("real", "rand"), means, strict=True)
        for fold, step in zip(FOLDS, _STEPS, strict=True)
    ]
    columns = ["target", "model1", "model2", "freeze", "fold", "prob", "value"]
    pd.DataFrame(mistakes, columns=columns).to_csv(folder / "similarity.csv", index=False)
    return folder


def _pairs(target: str) -> list[tuple[str, str]]:
    tuned = [f"{target}-{source}-freezeFalse" for source in ("ImageNet", "RadImageNet")]
    return [("ImageNet", "RadImageNet"), (tuned[0], tuned[1]), ("random", "random")]


def _kept(target: str, source: str, folds: tuple[tuple[float, ...], ...]) -> list[tuple]:
    name = f"{target}-{source}-freezeFalse"
    return [(name, source, fold, target, *values) for fold, values in zip(FOLDS, folds, strict=True)]


def _cca(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model1", "model2", "fold", "stimuli", *foreign.LAYERS])
