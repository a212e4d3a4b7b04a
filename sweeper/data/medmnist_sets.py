"""The two-dimensional sets of MedMNIST at 28, 64, 128 and 224 pixels: `pathmnist`, `pathmnist_64`, ...

The 3D sets have volumes and are not here. Some show the patients of another set, never to be used with it as source
and target: BreastMNIST those of `busi`, PneumoniaMNIST those of `chest_xray`, DermaMNIST those of `ham10000`,
ChestMNIST those of `nih_chestxray14`; the three OrganMNIST sets those of each other.
"""

from types import MappingProxyType
from typing import Any

from sweeper.data.medmnist import medmnist

SIZES = (28, 64, 128, 224)
_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)  # fmt: skip
_ORGAN_FACTS = {
    "classes": _ORGANS,
    "channels": 1,
    "cite": "Bilic et al. 2023, Medical Image Analysis 84:102680; Xu et al. 2019, IEEE TMI 38:1885-1898",
}
MEMBERS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "pathmnist": {
            "classes": (
                "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
                "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
            ),
            "images": (11745, 11413, 11851, 12191, 9931, 14128, 9504, 10867, 15550),
            "channels": 3,
            "cite": "Kather et al. 2019, PLoS Medicine 16:e1002730",
        },
        "chestmnist": {
            "classes": (
                "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
                "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
            ),
            "channels": 1,
            "cite": "Wang et al. 2017, ChestX-ray8, CVPR",
            "task": "multilabel",
        },
        "dermamnist": {
            "classes": (
                "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
                "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
            ),
            "images": (327, 514, 1099, 115, 1113, 6705, 142),
            "channels": 3,
            "cite": "Tschandl et al. 2018, Scientific Data 5:180161",
            "licence": "CC BY-NC 4.0",
        },
        "octmnist": {
            "classes": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
            "channels": 1,
            "cite": "Kermany et al. 2018, Cell 172:1122-1131",
        },
        "pneumoniamnist": {
            "classes": ("normal", "pneumonia"),
            "images": (1583, 4273),
            "channels": 1,
            "cite": "Kermany et al. 2018, Cell 172:1122-1131",
        },
        "retinamnist": {
            "classes": ("0", "1", "2", "3", "4"),
            "channels": 3,
            "cite": "Liu et al. 2022, DeepDRiD, Patterns 3:100512",
        },
        "breastmnist": {
            "classes": ("malignant", "normal, benign"),
            "images": (210, 570),
            "channels": 1,
            "cite": "Al-Dhabyani et al. 2020, Data in Brief 28:104863",
        },
        "bloodmnist": {
            "classes": (
                "basophil", "eosinophil", "erythroblast",
                "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte",
                "neutrophil", "platelet",
            ),
            "images": (1218, 3117, 1551, 2895, 1214, 1420, 3329, 2348),
            "channels": 3,
            "cite": "Acevedo et al. 2020, Data in Brief 30:105474",
        },
        "tissuemnist": {
            "classes": (
                "Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
                "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
                "Thick Ascending Limb",
            ),
            "channels": 1,
            "cite": "Ljosa et al. 2012, Nature Methods 9:637",
        },
        "organamnist": _ORGAN_FACTS,
        "organcmnist": _ORGAN_FACTS,
        "organsmnist": _ORGAN_FACTS,
    }
)  # fmt: skip
"""Name -> classes in the order of the official labels, the published number of images of each, channels and source."""


def _member(name: str, size: int) -> Any:
    facts = MEMBERS[name]
    return medmnist(
        name=name if size == SIZES[0] else f"{name}_{size}",
        classes=facts["classes"],
        size=size,
        metric="auroc",
        channels=facts["channels"],
        cite=f"Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; {facts['cite']}",
        licence=facts.get("licence", "CC BY 4.0"),
        patients="each image is its own patient: the files do not tell which of them show one person",
        counts=dict(zip(facts["classes"], facts.get("images", ()), strict=False)),
        url="https://medmnist.com",
        task=facts.get("task"),
    )


MEDMNIST = tuple(_member(name, size) for name in MEMBERS for size in SIZES)
