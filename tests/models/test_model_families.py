"""What holds of every model by name: its blocks, its names, its cuts; against timm, torchvision and hooks."""

from functools import cache, lru_cache

import pytest
import timm
import torch
import torchvision
from built import EVERY, GRAINS, OFTEN, build_meta, count_parameters, small_size, whole_meta
from small import shaken
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Grain
from sweeper.models.classifier import Classifier

SMALLEST = ("resnet10t", "densenet121", "inception_v3", "efficientnet_b0", "vit_tiny_patch16_224", "cbr_mini")
"""One of each family whose draws take no time; Swin's and AlexNet's smallest members have above 25 M parameters."""
LARGER = ("swin_tiny_patch4_window7_224", "alexnet")
FAMILIES = (*SMALLEST, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER))
TABLES = ("cls_token", "pos_embed", "relative_position_bias_table")


@cache
def _half_meta(name: str, grain: Grain) -> Classifier:
    return build_meta(name, MODELS[name].blocks[grain] // 2, grain)


def _build(name: str, depth: int | None = None, grain: Grain = "block") -> Classifier:
    torch.manual_seed(5)
    return models.build(Network(model=name, depth=depth, grain=grain), classes=2, size=small_size(name))


@lru_cache(maxsize=2)
def _whole(name: str) -> Classifier:
    whole = _build(name)
    shaken(whole)
    return whole


def _images(name: str, count: int = 2) -> Tensor:
    return torch.randn(count, 3, small_size(name), small_size(name), generator=torch.Generator().manual_seed(0))


@lru_cache(maxsize=2)
@torch.no_grad()
def _tapped(name: str, grain: Grain) -> list[Tensor]:
    """What each block of the whole model puts out."""
    seen: list[Tensor] = []
    whole = _whole(name)
    hooks = [
        whole.get_submodule(block.tap).register_forward_hook(lambda _module, _in, out: seen.append(out.clone()))
        for block in models.blocks(whole, grain)
    ]
    whole.backbone(_images(name))
    for hook in hooks:
        hook.remove()
    return seen


def _assert_cut_ends_at_tap(name: str, grain: Grain, depth: int) -> None:
    cut, whole = _build(name, depth, grain).eval(), _whole(name).state_dict()
    backbone = {key: value for key, value in whole.items() if key in cut.state_dict()}
    cut.load_state_dict(backbone | {key: value for key, value in cut.state_dict().items() if key.startswith("head.")})
    with torch.no_grad():
        torch.testing.assert_close(cut.backbone(_images(name)), _tapped(name, grain)[depth - 1])


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_a_built_model_has_as_many_blocks_as_the_table_says(name: str, grain: Grain) -> None:
    assert len(models.blocks(whole_meta(name), grain)) == MODELS[name].blocks[grain]


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_a_cut_model_has_depth_blocks(name: str, grain: Grain) -> None:
    assert len(models.blocks(_half_meta(name, grain), grain)) == MODELS[name].blocks[grain] // 2


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_tensor_belongs_to_exactly_one_block(name: str, grain: Grain) -> None:
    built = whole_meta(name)
    owned = [key for block in models.blocks(built, grain) for key in models.block_keys(built, block)]
    assert sorted(owned) == sorted(key for key in built.state_dict() if key.startswith("backbone."))


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_a_cut_model_holds_the_tensors_of_its_first_blocks_and_no_others(name: str, grain: Grain) -> None:
    built, cut = whole_meta(name), _half_meta(name, grain)
    half = models.blocks(built, grain)[: MODELS[name].blocks[grain] // 2]
    first = [key for block in half for key in models.block_keys(built, block)]
    assert sorted(cut.state_dict()) == sorted([*first, "head.weight", "head.bias"])


@pytest.mark.parametrize("cut_grain", GRAINS)
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_every_tensor_of_a_cut_model_belongs_to_exactly_one_block_at_either_grain(
    name: str, grain: Grain, cut_grain: Grain
) -> None:
    built = _half_meta(name, cut_grain)
    owned = [key for block in models.blocks(built, grain) for key in models.block_keys(built, block)]
    assert sorted(owned) == sorted(key for key in built.state_dict() if key.startswith("backbone."))


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_block_names_are_unique(name: str, grain: Grain) -> None:
    names = [block.name for block in models.blocks(whole_meta(name), grain)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [each for each in EVERY if not str(each.values[0]).startswith("cbr_")])
def test_the_backbones_tensors_are_those_of_the_library_it_is_from(name: str) -> None:
    with torch.device("meta"):
        whole = torchvision.models.alexnet() if name == "alexnet" else timm.create_model(name, num_classes=0)
    theirs = {key: tensor.shape for key, tensor in whole.state_dict().items() if not key.startswith("classifier.6.")}
    assert {key: tensor.shape for key, tensor in whole_meta(name).backbone.state_dict().items()} == theirs


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_weights_of_blocks_are_those_of_convolutions_linear_layers_and_tables(name: str, grain: Grain) -> None:
    built = whole_meta(name)
    weighed = {module for module, each in built.backbone.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)}
    keys = [key for block in models.weight_keys(built, grain).values() for key in block if not key.endswith(TABLES)]
    assert {key.rpartition(".")[0].removeprefix("backbone.") for key in keys} == weighed


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_the_last_taps_output_is_the_backbones(name: str, grain: Grain) -> None:
    built, seen = _half_meta(name, grain), []
    tap = built.get_submodule(models.blocks(built, grain)[-1].tap)
    hook = tap.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    output = built.backbone(torch.zeros(1, 3, 224, 224, device="meta"))
    hook.remove()
    assert output is seen[-1]


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", EVERY)
def test_a_head_takes_as_many_features_as_a_cut_backbone_gives(name: str, grain: Grain) -> None:
    built = _half_meta(name, grain)
    assert built.features(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, built.head.in_features)


@pytest.mark.parametrize("name", EVERY)
def test_the_first_weight_is_that_of_the_layer_that_timm_calls_the_first(name: str) -> None:
    facts = timm.get_pretrained_cfg(name) if MODELS[name].tags else None
    first = {"alexnet": "features.0"}.get(name, "block1.conv") if facts is None else facts.first_conv
    assert models.first_weight(whole_meta(name)) == f"backbone.{first}.weight"


@pytest.mark.parametrize("part", ["half", "but one"])
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_model_gives_what_the_whole_model_has_at_its_tap(name: str, grain: Grain, part: str) -> None:
    count = MODELS[name].blocks[grain]
    _assert_cut_ends_at_tap(name, grain, {"half": count // 2, "but one": count - 1}[part])


@pytest.mark.slow
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", [*OFTEN])
def test_a_model_cut_anywhere_gives_what_the_whole_model_has_at_its_tap(name: str, grain: Grain) -> None:
    for depth in range(1, MODELS[name].blocks[grain] + 1):
        _assert_cut_ends_at_tap(name, grain, depth)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_seed_starts_a_shallower_cut_as_a_deeper_one(name: str) -> None:
    whole, cut = _build(name).backbone.state_dict(), _build(name, 2, "layer").backbone.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in cut.items())


@pytest.mark.parametrize("depth", [3, None])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_can_be_trained(name: str, depth: int | None) -> None:
    built = _build(name, depth, "layer").train()
    built(_images(name, 3)).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_trained(name: str) -> None:
    built = _build(name).train()
    built(_images(name, 3)).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_a_model_can_look_at_one_channel(name: str) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=name, input="red"), classes=2)
    kernel, three = built.get_parameter(models.first_weight(built)), whole_meta(name)
    assert kernel.shape[1] == 1
    assert built(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 2)
    lost = 2 * kernel.numel()
    assert count_parameters(built) == count_parameters(three) - lost
