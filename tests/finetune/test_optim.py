"""Groups of tensors and the steps they take, against torch, timm and a closed form."""

from typing import Any

import pytest
import torch
from small import classifier, plain_network
from timm.optim.lars import Lars
from torch import nn

from sweeper import models
from sweeper.cell import Network, Recipe
from sweeper.finetune.optim import freeze_blocks, make_optimizer

SGD = Recipe(optimizer="sgd", weight_decay=0.01)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int = 3) -> torch.Tensor:
    """The weights after some steps with random gradients."""
    draws = torch.Generator().manual_seed(1)
    for _ in range(number):
        for each in model.parameters():
            each.grad = torch.randn(each.shape, generator=draws)
        optimizer.step()
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def plain(make: Any, **values: Any) -> torch.Tensor:
    """The weights after the same steps of an optimizer that decays what has more than one dimension."""
    model = plain_network()
    groups = [
        {"params": [each for each in model.parameters() if each.ndim > 1], "weight_decay": 0.01},
        {"params": [each for each in model.parameters() if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return steps(model, make(groups, lr=0.05, **values))


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.5, True), (0.9, False), (0.0, False)])
def test_sgd_is_torchs_with_the_recipes_momentum(momentum: float, nesterov: bool) -> None:
    model = plain_network()
    recipe = Recipe(optimizer="sgd", weight_decay=0.01, momentum=momentum, nesterov=nesterov)
    found = steps(model, make_optimizer(model, recipe, 0.05))
    torch.testing.assert_close(found, plain(torch.optim.SGD, momentum=momentum, nesterov=nesterov))


def test_without_momentum_nesterovs_step_is_the_plain_one() -> None:
    model = plain_network()
    found = steps(model, make_optimizer(model, Recipe(optimizer="sgd", weight_decay=0.01, momentum=0.0), 0.05))
    torch.testing.assert_close(found, plain(torch.optim.SGD))


@pytest.mark.parametrize(("name", "make"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_is_torchs(name: str, make: Any) -> None:
    model = plain_network()
    found = steps(model, make_optimizer(model, Recipe(optimizer=name, weight_decay=0.01), 0.05))
    torch.testing.assert_close(found, plain(make))


def test_lars_is_timms_which_adapts_what_is_decayed() -> None:
    model = plain_network()
    found = steps(model, make_optimizer(model, Recipe(optimizer="lars", weight_decay=0.01), 0.05))
    torch.testing.assert_close(found, plain(Lars, momentum=0.9, nesterov=True))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_of_lars_is_a_thousandth_of_a_weights_length_times_the_rate(decay: float) -> None:
    model = plain_network()
    weight = model[0].weight
    before = weight.detach().clone()
    recipe = Recipe(optimizer="lars", momentum=0.0, weight_decay=decay)
    steps(model, make_optimizer(model, recipe, 0.5), number=1)
    gradient = weight.grad + decay * before
    local = 0.001 * before.norm() / (weight.grad.norm() + decay * before.norm())  # You et al. 2017, equation 6
    torch.testing.assert_close(weight.detach(), before - 0.5 * local * gradient, rtol=1e-5, atol=1e-7)


def test_lars_moves_biases_by_the_plain_rate() -> None:
    model = plain_network()
    before = model[0].bias.detach().clone()
    steps(model, make_optimizer(model, Recipe(optimizer="lars", momentum=0.0), 0.5), number=1)
    torch.testing.assert_close(model[0].bias.detach(), before - 0.5 * model[0].bias.grad)


def test_a_backbone_with_its_own_rate_has_groups_of_its_own() -> None:
    model, _ = classifier()
    groups = make_optimizer(model, Recipe(backbone_decay=10, weight_decay=0.1), 1e-3).param_groups
    assert [(group["share"], group["weight_decay"]) for group in groups] == [
        (1.0, 0.1),
        (1.0, 0.0),
        (pytest.approx(0.1), 0.1),
        (pytest.approx(0.1), 0.0),
    ]
    assert {id(each) for group in groups[:2] for each in group["params"]} == {id(p) for p in model.head.parameters()}


@pytest.mark.parametrize("decay", [1.0, 10.0])
def test_every_trained_tensor_is_in_one_group(decay: float) -> None:
    model, _ = classifier(frozen=1)
    groups = make_optimizer(model, Recipe(backbone_decay=decay), 1e-3).param_groups
    found = [id(each) for group in groups for each in group["params"]]
    assert sorted(found) == sorted(id(each) for each in model.parameters() if each.requires_grad)


def test_a_backbones_rate_is_refused_where_nobody_knows_the_backbone() -> None:
    with pytest.raises(ValueError, match="backbone_decay=10 needs a Classifier, not a Sequential"):
        make_optimizer(plain_network(), Recipe(backbone_decay=10), 1e-3)


def test_tensors_that_no_module_holds_are_frozen_with_their_block() -> None:
    network = Network(model="deit_tiny_patch16_224", depth=2)
    model = models.build(network, classes=5, channels=3)
    freeze_blocks(model, network, 1)
    fixed = {name for name, each in model.named_parameters() if not each.requires_grad}
    assert {"backbone.cls_token", "backbone.pos_embed", "backbone.patch_embed.proj.weight"} <= fixed
    assert {name.split(".")[2] for name in fixed if name.startswith("backbone.blocks.")} == {"0"}
