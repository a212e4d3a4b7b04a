"""A classifier: a backbone cut at a depth, the mean over the image plane, and a new linear head.

It knows no layer names; those stay in the file of each family.
"""

from torch import Tensor, nn

from sweeper.cell import Network
from sweeper.models import cbr, resnet
from sweeper.models.block import Block
from sweeper.models.table import MODELS, Grain, problem


class Classifier(nn.Module):
    """`backbone`, then the mean over height and width, then `head`; it remembers its `network`."""

    def __init__(self, network: Network, backbone: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.network = network
        self.backbone = backbone
        # torch's own start, U(-1/sqrt(width), 1/sqrt(width)), as in Matsoukas et al. 2022
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, before any softmax or sigmoid."""
        return self.head(self.features(images))  # (images, classes)

    def features(self, images: Tensor) -> Tensor:
        """What the head takes: the backbone's output, its mean over the image plane, (images, width)."""
        return self.backbone(images).mean(dim=(2, 3))


def build(network: Network, *, classes: int, channels: int = 3) -> Classifier:
    """The model with its own random start, drawn from torch's global generator.

    Raises:
        ValueError: when the model is unknown, cannot be cut at this depth, or a count is below 1.
    """
    wrong = problem(network)
    if wrong:
        raise ValueError(wrong)
    if classes < 1 or channels < 1:
        raise ValueError(f"'{network.model}' with {channels} channels and {classes} classes: both must be at least 1")
    shape = MODELS[network.model].shape
    backbone, width = cbr.cut(network, shape, channels) if shape else resnet.cut(network, channels)
    return Classifier(network, backbone, width, classes)


def blocks(model: Classifier, grain: Grain) -> list[Block]:
    """The model's blocks from the input on; every backbone tensor belongs to exactly one of them."""
    match MODELS[model.network.model].family:
        case "resnet":
            return resnet.blocks(model.backbone, grain)
        case "cbr":
            return cbr.blocks(model.backbone)


def block_keys(model: Classifier, block: Block) -> list[str]:
    """The names in `model.state_dict()` of a block's parameters and buffers."""
    prefixes = tuple(f"{module}." for module in block.modules)
    return [name for name in model.state_dict() if name.startswith(prefixes)]


def weight_keys(model: Classifier, grain: Grain) -> dict[str, list[str]]:
    """Per block, the names in `model.state_dict()` of its weights and biases, those of norm layers left out."""
    norms = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d))
    trained = {name for name, _ in model.named_parameters() if not name.startswith(norms)}
    return {
        block.name: [name for name in block_keys(model, block) if name in trained] for block in blocks(model, grain)
    }
