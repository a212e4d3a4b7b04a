"""Where models are cut and what their blocks are called, against timm's and torchvision's own activations."""

import pytest
import timm
import torch
import torchvision
from built import build_meta, whole_meta
from small import shaken
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models import Grain

# Where the layers of a small ResNet end, in timm's own names
RESNET18_TAPS = ("maxpool", *(f"layer{stage}.{layer}" for stage in (1, 2, 3, 4) for layer in (0, 1)))
# Where AlexNet is cut in Peng et al. 2023: the first so many modules of `features`
ALEXNET_CUTS = {1: 3, 2: 6, 3: 8, 4: 10, 5: 13}
# Matsoukas et al. 2022: groups -1 and 0, 1 and 2, then 3, 4 and 5
INCEPTION_STAGES = [
    ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"],
    ["Conv2d_3b_1x1", "Conv2d_4a_3x3"],
    ["Mixed_5b", "Mixed_5c", "Mixed_5d"],
    ["Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"],
    ["Mixed_7a", "Mixed_7b", "Mixed_7c"],
]
FULL = ["resnet10t", "densenet121", "inception_v3", "efficientnet_b0"]


def _images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _activation(whole: nn.Module, tap: str, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = whole.get_submodule(tap).register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    whole(images)
    hook.remove()
    return seen[0]


def _cut_like(whole: nn.Module, name: str, depth: int | None, grain: Grain) -> nn.Module:
    cut = models.build(Network(model=name, depth=depth, grain=grain), classes=2).eval()
    cut.backbone.load_state_dict({name: whole.state_dict()[name] for name in cut.backbone.state_dict()})
    return cut.backbone


def _names(model: str, grain: Grain) -> list[str]:
    return [block.name for block in models.blocks(whole_meta(model), grain)]


@pytest.mark.parametrize(("stage", "point"), [(1, 4), (2, 8), (3, 14), (4, 17)])
def test_resnet50_stages_end_at_the_published_layer_points(stage: int, point: int) -> None:
    by_block, by_layer = build_meta("resnet50", stage, "block"), build_meta("resnet50", point, "layer")
    assert list(by_block.state_dict()) == list(by_layer.state_dict())


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_a_cut_resnet_gives_the_activation_that_timms_whole_model_has_there(depth: int) -> None:
    whole = shaken(timm.create_model("resnet18", num_classes=0))
    cut = _cut_like(whole, "resnet18", depth, "layer")
    with torch.no_grad():
        assert torch.equal(cut(_images()), _activation(whole, RESNET18_TAPS[depth - 1], _images()))


@pytest.mark.parametrize("stage", [1, 3])
def test_a_densenet_cut_behind_a_block_gives_the_activation_of_timms_transition(stage: int) -> None:
    whole = shaken(timm.create_model("densenet121", num_classes=0))
    cut = _cut_like(whole, "densenet121", stage, "block")
    with torch.no_grad():
        theirs = _activation(whole, f"features.transition{stage}", _images())
        torch.testing.assert_close(cut(_images()), theirs)


@pytest.mark.parametrize("layers", [1, 6])
def test_a_densenet_cut_in_a_dense_block_joins_its_input_and_what_its_layers_add_in_timm(layers: int) -> None:
    whole = shaken(timm.create_model("densenet121", num_classes=0))
    parts = ["features.pool0", *(f"features.denseblock1.denselayer{number + 1}" for number in range(layers))]
    cut = _cut_like(whole, "densenet121", 1 + layers, "layer")
    with torch.no_grad():
        theirs = torch.cat([_activation(whole, part, _images()) for part in parts], dim=1)
        torch.testing.assert_close(cut(_images()), theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "modules"), ALEXNET_CUTS.items())
def test_a_cut_alexnet_gives_the_activation_that_torchvisions_has_at_the_published_module(
    depth: int, modules: int
) -> None:
    whole = torchvision.models.alexnet().eval()
    cut = _cut_like(whole, "alexnet", depth, "block")
    with torch.no_grad():
        assert torch.equal(cut(_images()), whole.features[:modules](_images()))


@pytest.mark.slow
def test_the_uncut_alexnet_gives_torchvisions_features() -> None:
    whole = torchvision.models.alexnet().eval()
    backbone = _cut_like(whole, "alexnet", None, "block")
    whole.classifier[6] = nn.Identity()
    with torch.no_grad():
        assert torch.equal(backbone(_images()), whole(_images()))


@pytest.mark.parametrize("name", FULL)
def test_the_uncut_backbone_gives_timms_own_features(name: str) -> None:
    whole = shaken(timm.create_model(name, num_classes=0))
    backbone, images = _cut_like(whole, name, None, "block"), _images(75)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images).mean((2, 3)), whole(images), rtol=1e-5, atol=1e-6)


def test_resnet_layers_are_the_stem_and_then_each_residual_block() -> None:
    assert _names("resnet18", "layer") == ["stem", *RESNET18_TAPS[1:]]


def test_densenet_blocks_are_dense_blocks() -> None:
    assert _names("densenet121", "block") == [f"denseblock{number}" for number in (1, 2, 3, 4)]


def test_densenet_layers_are_the_stem_dense_layers_transitions_and_the_norm() -> None:
    names = _names("densenet121", "layer")
    assert names[:3] == ["stem", "denseblock1.denselayer1", "denseblock1.denselayer2"]
    assert (names[7], names[-2:]) == ("transition1", ["denseblock4.denselayer16", "norm5"])


def test_inception_blocks_are_the_published_groups() -> None:
    blocks = models.blocks(whole_meta("inception_v3"), "block")
    groups = [[each.removeprefix("backbone.") for each in block.modules] for block in blocks]
    assert groups == INCEPTION_STAGES


def test_inception_layers_are_its_convolutions_and_modules() -> None:
    assert _names("inception_v3", "layer") == [layer for stage in INCEPTION_STAGES for layer in stage]


def test_efficientnet_layers_are_the_stem_inverted_residuals_and_the_last_convolution() -> None:
    names = _names("efficientnet_b0", "layer")
    assert (names[:3], names[-2:]) == (["stem", "blocks.0.0", "blocks.1.0"], ["blocks.6.0", "conv_head"])


def test_the_last_convolution_of_an_efficientnet_is_part_of_its_last_stage() -> None:
    *_, last = models.blocks(whole_meta("efficientnet_b0"), "block")
    assert last.modules == ("backbone.blocks.6", "backbone.conv_head", "backbone.bn2")


def test_alexnet_has_five_convolutions_and_two_linear_layers() -> None:
    assert _names("alexnet", "block") == [*(f"conv{number}" for number in range(1, 6)), "linear1", "linear2"]


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0"])
def test_the_stem_alone_is_one_block_at_either_grain(name: str) -> None:
    built = build_meta(name, 1, "layer")
    assert [block.name for block in models.blocks(built, "block")] == ["stem"]
