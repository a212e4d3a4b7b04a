"""PneumoniaMNIST: paediatric chest X-rays, normal against pneumonia, made from `chest_xray`.

Never use it with `chest_xray` as source and target: they show the same patients.
"""

from sweeper.data.medmnist import medmnist

PNEUMONIAMNIST = medmnist(
    name="pneumoniamnist",
    classes=("normal", "pneumonia"),
    metric="auroc",
    channels=1,
    cite="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; Kermany et al. 2018, Cell 172:1122-1131",
    licence="CC BY 4.0",
)
