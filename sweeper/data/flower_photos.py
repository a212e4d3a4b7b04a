"""Photographs of five flowers: a natural-image source domain small enough to train on.

There is no official split, and each image counts as its own patient.
"""

from sweeper.data.folder import image_folder

FLOWER_PHOTOS = image_folder(
    name="flower_photos",
    folder="flower_photos",
    classes=("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    metric="accuracy",
    channels=3,
    cite="The TensorFlow team 2019, Flowers; photographers in its LICENSE.txt",
    licence="CC BY 2.0",
    remedy="unpack storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz there",
    patients="each image is its own patient: these are photographs of flowers",
    counts={"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799},
    url="https://www.tensorflow.org/datasets/catalog/tf_flowers",
)
