"""The sources of weights that a study can name, each with its contract: who made it, and how its images looked.

It imports no torch; `sources.py` reads what is listed here, and `judging.py` judges a cell by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sweeper.models import MODELS
from sweeper.weights.pixels import HALF, PIXELS, Pixels

RADIMAGENET_FILES = {
    "resnet50": "RadImageNet_pytorch/ResNet50.pt",
    "densenet121": "RadImageNet_pytorch/DenseNet121.pt",
    "inception_v3": "RadImageNet_pytorch/InceptionV3.pt",
}
"""Model -> file under the site's data folder, named and laid out as the authors hand it out."""

KERAS_FILES = {
    "resnet50": "RadImageNet_models/RadImageNet-ResNet50_notop.h5",
    "densenet121": "RadImageNet_models/RadImageNet-DenseNet121_notop.h5",
    "inception_v3": "RadImageNet_models/RadImageNet-InceptionV3_notop.h5",
}
"""Likewise, as Keras saved them."""

DINO_TAGS = {
    "vit_small_patch16_224": "vit_small_patch16_224.dino",
    "vit_base_patch16_224": "vit_base_patch16_224.dino",
    "deit_small_patch16_224": "vit_small_patch16_224.dino",
    "deit_base_patch16_224": "vit_base_patch16_224.dino",
}
"""Model -> timm's name of weights that fit it; DeiT without its distillation token is that ViT."""

DINO_RESNET = "dino_resnet50_pretrain.pth"
"""The authors' file, in the checkpoints folder of torch hub (`TORCH_HOME`)."""

XRV_WEIGHTS = "densenet121-res224-all"
"""What torchxrayvision calls them."""

_HEADS = ("fc.", "fc_norm.", "head.", "head_dist.", "classifier.", "pre_logits.", "AuxLogits.")
"""How the tensors of heads are called in timm, torchvision and DeiT's own files."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The contract of a source that has a name of its own."""

    models: frozenset[str]
    """The models, without tag, that it has weights for; timm's models that are not ours ask timm."""
    pixels: Pixels | None
    """How images were normalised for it; None where each of its models has its own way, which timm tells."""
    interpolation: str | None
    """How images were resized for it, which a cell does not follow: bilinear there; None where timm tells."""
    licence: str
    """Of the weights."""
    cite: str
    """Who made it."""
    heads: tuple[str, ...] = ()
    """How names begin that it may hold beside a backbone's; any other one means that it was made for another model."""
    head: bool = False
    """Whether it holds a linear head over classes of which an image has one."""


_RADIMAGENET = "Mei et al. 2022, Radiology: Artificial Intelligence"

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "random": Source(
            models=frozenset(MODELS),
            pixels=HALF,
            interpolation="bilinear",
            licence="none needed",
            cite="the model's own random start",
        ),
        # the weights of the tag in the model's name, or of timm's default tag; torchvision's are timm's tv_in1k
        "imagenet": Source(
            models=frozenset(name for name, info in MODELS.items() if info.tags or info.family == "alexnet"),
            pixels=None,
            interpolation=None,
            licence="that of the tag, which timm tells; torchvision's: BSD-3-Clause",
            cite="Deng et al. 2009; weights of timm (Wightman) and torchvision",
            heads=_HEADS,
            head=True,
        ),
        # trained on grey images of the [-1, 1] that its authors' PyTorch code makes: the order of channels is idle
        "radimagenet": Source(
            models=frozenset(RADIMAGENET_FILES),
            pixels=HALF,
            interpolation="bilinear",
            licence="MIT (the authors' repository)",
            cite=f"{_RADIMAGENET}; PyTorch weights",
        ),
        # the authors' training code has Keras's `preprocess_input` of mode caffe and rescale=1/255 for every model;
        # Keras puts strides (ResNet-50) and the margins of average pools (Inception-v3) elsewhere: see `keras.py`
        "radimagenet_keras": Source(
            models=frozenset(KERAS_FILES),
            pixels=PIXELS["caffe_scaled"],
            interpolation="nearest",
            licence="MIT (the authors' repository)",
            cite=f"{_RADIMAGENET}; Keras weights",
        ),
        "dino": Source(
            models=frozenset((*DINO_TAGS, "resnet50")),
            pixels=PIXELS["imagenet"],
            interpolation="bicubic",
            licence="Apache-2.0",
            cite="Caron et al. 2021, self-supervised on ImageNet-1k",
            heads=_HEADS,
        ),
        # one channel from -1024 to 1024
        "xrv": Source(
            models=frozenset({"densenet121"}),
            pixels=Pixels(mean=(0.5, 0.5, 0.5), std=(1 / 2048, 1 / 2048, 1 / 2048)),
            interpolation="bilinear",
            licence="Apache-2.0",
            cite="Cohen et al. 2022, TorchXRayVision; chest X-rays of several public sets",
            heads=("classifier.", "op_threshs"),
        ),
    }
)
"""Name -> contract."""

SCHEMES = {"cell": "cell:KEY", "registry": "registry:NAME/VERSION", "file": "file:PATH"}
"""Scheme -> how a source of this scheme is written. Such a source has the contract of the cell that made it, which its
metadata tell; a file from elsewhere that tells nothing is taken to expect pixels from -1 to 1."""


def heads_of(source: str) -> tuple[str, ...]:
    """How names may begin that a source holds beside a backbone's."""
    return SOURCES[source].heads if source in SOURCES else _HEADS
