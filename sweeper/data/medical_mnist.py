"""Medical MNIST (MedNIST): six kinds of CT, MRI and X-ray images at 64 pixels, a medical source domain.

There is no official split, and patients are not told: each image is its own.
"""

from sweeper.data.folder import image_folder

MEDICAL_MNIST_64 = image_folder(
    name="medical_mnist_64",
    folder="medical_mnist_64",
    also=("MedNIST",),
    classes=("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"),
    metric="accuracy",
    channels=1,
    cite="MedNIST, gathered by B. J. Erickson (Mayo Clinic) from TCIA, the RSNA Bone Age Challenge and NIH ChestX-ray",
    licence="CC BY-SA 4.0",
    remedy="unpack MedNIST.tar.gz of github.com/Project-MONAI/MONAI-extra-test-data/releases in the data folder",
    patients="each image is its own patient: the archive does not tell which of them show one person",
    counts={"AbdomenCT": 10000, "BreastMRI": 8954, "CXR": 10000, "ChestCT": 10000, "Hand": 10000, "HeadCT": 10000},
    url="https://github.com/Project-MONAI/MONAI-extra-test-data/releases",
)
