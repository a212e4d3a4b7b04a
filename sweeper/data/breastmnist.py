"""BreastMNIST: breast ultrasound, malignant against normal or benign, made from BUSI.

Never use it with `busi` as source and target: they show the same patients.
"""

from sweeper.data.medmnist import medmnist

BREASTMNIST = medmnist(
    name="breastmnist",
    classes=("malignant", "normal, benign"),
    metric="auroc",
    channels=1,
    cite="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; Al-Dhabyani et al. 2020, Data in Brief 28:104863",
    licence="CC BY 4.0",
)
