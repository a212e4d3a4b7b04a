"""Which modules are norm layers, and how batch norms are shared over devices, against timm's layers."""

import pytest
import timm.layers
import torch
from small import shaken
from torch import nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models.classifier import Classifier, is_norm

NORMS = [
    *(nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.InstanceNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4)),
    *(
        timm.layers.BatchNormAct2d(4),
        timm.layers.GroupNormAct(4, 2),
        timm.layers.LayerNorm2d(4),
        timm.layers.RmsNorm(4),
    ),
    *(timm.layers.EvoNorm2dS0(4, 2), timm.layers.FilterResponseNormTlu2d(4)),
]
OTHERS = [
    nn.Conv2d(4, 4, 1),
    nn.Linear(4, 4),
    timm.layers.StdConv2d(4, 4, 1),
    timm.layers.SqueezeExcite(4),
    nn.PReLU(4),
]


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _build(name: str) -> Classifier:
    torch.manual_seed(0)
    built = models.build(Network(model=name), classes=2)
    shaken(built)
    return built


@pytest.mark.parametrize("module", NORMS, ids=_kind)
def test_norm_layers_are_recognised(module: nn.Module) -> None:
    assert is_norm(module)


@pytest.mark.parametrize("module", OTHERS, ids=_kind)
def test_other_layers_are_no_norm_layers(module: nn.Module) -> None:
    assert not is_norm(module)


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "resnet10t", "cbr_mini"])
def test_shared_norms_change_nothing_in_evaluation(name: str) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        own = _build(name)(images)
        assert torch.equal(models.share_norms(_build(name)).eval()(images), own)


@pytest.mark.parametrize("name", ["densenet121", "cbr_mini"])
def test_shared_norms_take_the_place_of_all_batch_norms(name: str) -> None:
    shared = models.share_norms(_build(name))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in shared.modules())


def test_shared_norms_leave_names_and_weights_as_they_are() -> None:
    own = _build("densenet121")
    keys, weights = list(own.state_dict()), models.weight_keys(own, "layer")
    shared = models.share_norms(own)
    assert (list(shared.state_dict()), models.weight_keys(shared, "layer")) == (keys, weights)
