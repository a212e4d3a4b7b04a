"""A classifier: a backbone cut at a depth, pooling or none, and a new linear head.

It knows no layer names; those stay in the file of each family.
"""

import copy
import importlib
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.judging import problem
from sweeper.models.table import family_of
from sweeper.models.trunk import Trunk, pooled

_FILES = {
    "alexnet": "sweeper.models.alexnet",
    "cbr": "sweeper.models.cbr",
    "densenet": "sweeper.models.densenet",
    "efficientnet": "sweeper.models.efficientnet",
    "generic": "sweeper.models.generic",
    "inception": "sweeper.models.inception",
    "resnet": "sweeper.models.resnet",
    "swin": "sweeper.models.swin",
    "vit": "sweeper.models.vit",
}
"""Family -> its file, which is imported when it is needed: most import timm, which takes seconds."""


class Classifier(nn.Module):
    """`backbone`, then the mean over the image or its flattened output, then `head`; it remembers its `network`."""

    def __init__(self, network: Network, trunk: Trunk, *, classes: int, inputs: int) -> None:
        super().__init__()
        self.network = network
        self.trunk = trunk
        self.backbone = trunk.backbone
        # torch's own start, U(-1/sqrt(inputs), 1/sqrt(inputs)), as in Matsoukas et al. 2022
        self.head = nn.Linear(inputs, classes)
        if network.head_start == "kaiming":  # Peng et al. 2023; their biases keep torch's own start
            nn.init.kaiming_normal_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, before any softmax or sigmoid."""
        return self.logits(self.features(images))  # (images, classes)

    def features(self, images: Tensor) -> Tensor:
        """What the head takes: the backbone's output, pooled (images, width) or flattened (images, inputs)."""
        if self.network.input != "rgb":
            images = images[:, :1]  # grey images come with three equal channels
        output = self.backbone(images)
        return output.flatten(1) if self.network.head == "flatten" else pooled(output, self.trunk)

    def logits(self, features: Tensor) -> Tensor:
        """What the head makes of features, some of them dropped in training where the network says so."""
        if self.network.dropout:
            features = F.dropout(features, self.network.dropout, self.training)
        return self.head(features)


def build(network: Network, *, classes: int, channels: int = 3, size: int = 224) -> Classifier:
    """The model with its own random start, drawn from torch's global generator.

    Raises:
        ValueError: when the model is unknown, cannot be cut at this depth or take such images, or a count is below 1.
    """
    wrong = problem(network)
    if wrong:
        raise ValueError(wrong)
    if classes < 1 or channels < 1:
        raise ValueError(f"'{network.model}' with {channels} channels and {classes} classes: both must be at least 1")
    taken = channels if network.input == "rgb" else 1
    trunk: Trunk = _file(network).cut(network, taken, size)
    inputs = trunk.width if network.head == "pool" else _flat_width(trunk, taken, size)
    return Classifier(network, trunk, classes=classes, inputs=inputs)


def blocks(model: Classifier, grain: Grain) -> list[Block]:
    """The model's blocks from the input on; every backbone tensor belongs to exactly one of them."""
    return _file(model.network).blocks(model.backbone, grain)


def block_keys(model: Classifier, block: Block) -> list[str]:
    """The names in `model.state_dict()` of a block's parameters and buffers."""
    prefixes = tuple(f"{module}." for module in block.modules)
    return [name for name in model.state_dict() if name.startswith(prefixes) or name in block.tensors]


def weight_keys(model: Classifier, grain: Grain) -> dict[str, list[str]]:
    """Per block, the names in `model.state_dict()` of its weights and biases, those of norm layers left out."""
    norms = tuple(f"{name}." for name, module in model.named_modules() if is_norm(module))
    trained = {name for name, _ in model.named_parameters() if not name.startswith(norms)}
    return {
        block.name: [name for name in block_keys(model, block) if name in trained] for block in blocks(model, grain)
    }


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm layer, torch's or, with or without an activation, timm's."""
    if isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
        return True
    file = type(module).__module__
    return file.startswith("timm.layers.") and "norm" in file


def share_norms(model: Classifier) -> Classifier:
    """The model, its batch norms replaced in place by ones that take their statistics over all devices.

    Names, values and activations stay; torch's own conversion drops the activations of timm's norm layers.
    """
    from timm.layers.norm_act import convert_sync_batchnorm

    shared = convert_sync_batchnorm(model)
    assert shared is model  # the model itself is no batch norm: only what it holds is replaced
    return model


def first_weight(model: Classifier) -> str:
    """The name in `model.state_dict()` of the first convolution's weight, that of a patch embedding included."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return f"{name}.weight"
    raise ValueError(f"'{model.network.model}' has no convolution")


def _file(network: Network) -> ModuleType:
    return importlib.import_module(_FILES[family_of(network.model)])


def _flat_width(trunk: Trunk, channels: int, size: int) -> int:
    """Numbers that the backbone puts out for one image, found on shapes alone."""
    shapes = copy.deepcopy(trunk.backbone).to("meta").eval()
    return shapes(torch.empty(1, channels, size, size, device="meta")).numel()
