"""What moves the weights: an optimizer over the trainable tensors, and the freezing of the first blocks.

The rate of each step is `schedules.rate_at`; nothing here knows of epochs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sweeper import models
from sweeper.cell import Network, Recipe
from sweeper.finetune.group import inner
from sweeper.models.classifier import Classifier

SHARE = "share"
"""Under this name a group holds what the schedule's rate is multiplied by for it."""


def make_optimizer(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """An optimizer in two groups: biases and other one-dimensional tensors are not decayed.

    Where the backbone has a rate of its own there are four: the head's two, then the backbone's. The groups are made
    from the model inside a distributed wrapper.

    Raises:
        ValueError: when the backbone has a rate of its own and the model is no `Classifier`.
    """
    model = inner(model)
    if recipe.backbone_decay == 1.0:
        groups = _decayed_and_not(list(model.parameters()), recipe, 1.0)
    elif not isinstance(model, Classifier):
        raise ValueError(f"backbone_decay={recipe.backbone_decay:g} needs a Classifier, not a {type(model).__name__}")
    else:
        groups = _decayed_and_not(list(model.head.parameters()), recipe, 1.0)
        groups += _decayed_and_not(list(model.backbone.parameters()), recipe, 1.0 / recipe.backbone_decay)
    return _make(groups, recipe, lr)


def freeze_blocks(model: Classifier, network: Network, frozen: int) -> list[nn.Module]:
    """The modules of the first `frozen` blocks, whose parameters are from now on not trained.

    The caller keeps them in evaluation mode, so that their batch-norm statistics stay as well.
    """
    blocks = models.blocks(model, network.grain)[:frozen]
    modules = [model.get_submodule(name) for block in blocks for name in block.modules]
    for module in modules:
        module.requires_grad_(False)
    alone = {name for block in blocks for name in block.tensors}
    for name, parameter in model.named_parameters():
        if name in alone:
            parameter.requires_grad_(False)
    return modules


def _decayed_and_not(parameters: Sequence[nn.Parameter], recipe: Recipe, share: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": recipe.weight_decay, SHARE: share},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0, SHARE: share},
    ]


def _make(groups: list[dict[str, Any]], recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    # without momentum Nesterov's step is the plain one, which torch insists on hearing
    moving = {"momentum": recipe.momentum, "nesterov": recipe.nesterov and recipe.momentum > 0}
    match recipe.optimizer:  # fused: 1.17 times the images/s of a small net on a CPU
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, fused=True, **moving)
        case "lars":
            return _lars(groups, lr, moving)
    raise ValueError(f"optimizer '{recipe.optimizer}' is unknown; there are adam, adamw, lars, sgd")


def _lars(groups: list[dict[str, Any]], lr: float, moving: dict[str, Any]) -> torch.optim.Optimizer:
    """LARS (You et al. 2017): tensors of more than one dimension move by their own length, decayed or not."""
    from timm.optim.lars import Lars  # 6 s, which nets that are not timm's do without

    adapted = [group | {"always_adapt": any(each.ndim > 1 for each in group["params"])} for group in groups]
    return Lars(adapted, lr=lr, **moving)
