"""The RadImageNet authors' PyTorch files: positions in a Sequential of torchvision's children, as timm's names.

Their backbones are `nn.Sequential(*children[:-1])` of torchvision's models, saved under `backbone.` (Mei et al. 2022);
children without tensors are not listed. Whether the tensors fit a model is not asked here.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

_CHILDREN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "resnet50": {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
        "densenet121": {"0": "features"},
        # made with aux_logits=False: the auxiliary head would shift what follows Mixed_6e
        "inception_v3": {
            "0": "Conv2d_1a_3x3",
            "1": "Conv2d_2a_3x3",
            "2": "Conv2d_2b_3x3",
            "4": "Conv2d_3b_1x1",
            "5": "Conv2d_4a_3x3",
            **{str(7 + number): f"Mixed_5{letter}" for number, letter in enumerate("bcd")},
            **{str(10 + number): f"Mixed_6{letter}" for number, letter in enumerate("abcde")},
            **{str(15 + number): f"Mixed_7{letter}" for number, letter in enumerate("abc")},
        },
    }
)
"""Model -> position -> name."""


def timm_name(name: str, model: str) -> str | None:
    """timm's name of a tensor in the authors' file of a model, without tag; None when it is no tensor of theirs."""
    match = re.fullmatch(r"backbone\.(\d+)\.(.+)", name)
    child = _CHILDREN[model].get(match[1]) if match else None
    return f"{child}.{match[2]}" if match and child else None
