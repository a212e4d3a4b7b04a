"""What kind of tensor a key of a model names, by the type of the module that holds it.

No family is known here: a module that is no convolution, linear layer or norm layer has no rule, and is an error.
"""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper.models.classifier import Classifier

Kind = Literal["weight", "norm", "table"]

TABLES = frozenset({"cls_token", "dist_token", "reg_token", "pos_embed", "relative_position_bias_table"})
"""Last parts of the names of class tokens and position tables, in timm's models."""


def kind_of(model: Classifier, key: str) -> Kind:
    """Whether a tensor is a convolution's or linear layer's, a norm layer's, or a class token or position table.

    Subclasses count as what they derive from, as timm's norm layers with an activation do.

    Raises:
        ValueError: when it is neither, naming it.
    """
    owner, _, name = key.rpartition(".")
    if name in TABLES:
        return "table"
    module = model.get_submodule(owner)
    match module:
        case nn.Conv2d() | nn.Linear():
            return "weight"
        case _BatchNorm() | nn.LayerNorm() | nn.GroupNorm():
            return "norm"
    raise ValueError(
        f"there is no rule for drawing {key} of '{model.network.model}', a tensor of {type(module).__name__}"
    )


def reset_norm(model: Classifier, name: str) -> None:
    """Sets a norm layer to weight 1 and bias 0, and its running statistics, if any, to 0 and 1."""
    norm = model.get_submodule(name)
    assert isinstance(norm, _BatchNorm | nn.LayerNorm | nn.GroupNorm)
    norm.reset_parameters()
