"""Swin transformers cut at every half of a block, against timm's own untouched model."""

from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from sweeper import models
from sweeper.cell import Network
from sweeper.models import Grain, swin
from sweeper.models.classifier import Classifier

NAME = "swin_tiny_patch4_window7_224"
SIZE = 64  # a grid of 16 patches: windows that are shifted, masked and padded; in the last stage a single one
OFTEN = (2, 4, 6, 25)
"""Attention halves: the first, a shifted one, one with merging before it; and all but the norm."""
LAYERS = [pytest.param(depth, marks=() if depth in OFTEN else pytest.mark.slow) for depth in range(1, 27)]
STAGES = [pytest.param(1, 4, marks=pytest.mark.slow), (2, 8), pytest.param(3, 20, marks=pytest.mark.slow), (4, 25)]


def _build(depth: int | None = None, grain: Grain = "layer", **axes: Any) -> Classifier:
    torch.manual_seed(3)
    return models.build(Network(model=NAME, depth=depth, grain=grain, **axes), classes=2, size=SIZE).eval()


@cache
def _whole() -> Classifier:
    return _build()


def _images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@cache
def _timms() -> Any:
    torch.manual_seed(4)
    whole = timm.create_model(NAME, num_classes=0, img_size=SIZE).eval()
    for parameter in whole.parameters():  # norms, biases and tables of their own
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return whole


@cache
def _timms_outputs() -> list[Tensor]:
    """What flows behind the embedding and behind each half, as (images, height, width, features); last, the norm's."""
    whole, seen = _timms(), []

    def attended(inputs: tuple[Tensor, ...]) -> None:
        side = round(inputs[0].shape[1] ** 0.5)
        seen.append(inputs[0].unflatten(1, (side, side)).clone())

    hooks = [whole.patch_embed.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))]
    for block in (block for stage in whole.layers for block in stage.blocks):
        hooks.append(block.norm2.register_forward_pre_hook(lambda _module, inputs: attended(inputs)))
        hooks.append(block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone())))
    with torch.no_grad():
        last = whole.forward_features(_images())
    for hook in hooks:
        hook.remove()
    return [*seen, last]


def _with_timms_values(built: Classifier) -> Classifier:
    values = _timms().state_dict()
    built.backbone.load_state_dict({key: values[key] for key in built.backbone.state_dict()})
    return built


def _owners(built: Classifier, grain: Grain, key: str) -> int:
    prefixes = [(block, tuple(f"{each}." for each in block.modules)) for block in models.blocks(built, grain)]
    return sum(key in block.tensors or key.startswith(modules) for block, modules in prefixes)


@pytest.mark.parametrize("depth", LAYERS)
def test_a_cut_behind_a_half_gives_exactly_what_timm_has_there(depth: int) -> None:
    cut = _with_timms_values(_build(depth))
    with torch.no_grad():
        assert torch.equal(cut.backbone(_images()), _timms_outputs()[depth - 1])


@pytest.mark.parametrize(("stage", "place"), STAGES)
def test_a_cut_behind_a_stage_gives_exactly_what_timm_has_there(stage: int, place: int) -> None:
    cut = _with_timms_values(_build(stage, "block"))
    with torch.no_grad():
        assert torch.equal(cut.backbone(_images()), _timms_outputs()[place])


def test_the_taps_of_the_whole_model_give_what_timm_has_there() -> None:
    built, seen = _with_timms_values(_whole()), []
    taps = [built.get_submodule(block.tap) for block in models.blocks(built, "layer")]
    hooks = [tap.register_forward_hook(lambda _module, _in, output: seen.append(output.clone())) for tap in taps]
    with torch.no_grad():
        built(_images())
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(one, other) for one, other in zip(seen, _timms_outputs(), strict=True))


def test_features_of_the_whole_model_are_timms_own() -> None:
    built, whole = _with_timms_values(_whole()), _timms()
    with torch.no_grad():
        theirs = whole.forward_head(whole.forward_features(_images()), pre_logits=True)
        torch.testing.assert_close(built.features(_images()), theirs)


@pytest.mark.parametrize("grain", ["block", "layer"])
@pytest.mark.parametrize("depth", [1, 2, 4, 6, 9, None])
def test_every_parameter_and_buffer_belongs_to_exactly_one_block(depth: int | None, grain: Grain) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=NAME, depth=depth, grain="layer"), classes=2)
    held = [*dict(built.backbone.named_parameters("backbone")), *dict(built.backbone.named_buffers("backbone"))]
    assert [_owners(built, grain, key) for key in held] == [1] * len(held)


@pytest.mark.parametrize("tensor", ["attn.relative_position_bias_table", "attn.relative_position_index", "attn_mask"])
def test_what_windows_need_belongs_to_the_attention_half(tensor: str) -> None:
    half = next(block for block in models.blocks(_whole(), "layer") if block.name == "layers.0.blocks.1.attn")
    name = f"backbone.layers.0.blocks.1.{tensor}"
    assert name in half.tensors or name.startswith(tuple(f"{module}." for module in half.modules))


def test_merging_patches_belongs_to_the_first_attention_half_of_its_stage() -> None:
    half = next(block for block in models.blocks(_whole(), "layer") if block.name == "layers.1.blocks.0.attn")
    assert "backbone.layers.1.downsample" in half.modules


def test_no_tensor_of_an_mlp_half_is_left_behind_an_attention_half() -> None:
    names = [key for key in _build(2).state_dict() if key.startswith("backbone.layers.")]
    assert {key.split(".")[5] for key in names} == {"norm1", "attn"}


def test_one_seed_starts_a_shallower_cut_as_a_deeper_one() -> None:
    whole, cut = _build().backbone.state_dict(), _build(6).backbone.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in cut.items())


@pytest.mark.parametrize("depth", [2, None])
def test_every_tensor_of_a_cut_is_trained(depth: int | None) -> None:
    # In evaluation, since stochastic depth may leave out a half of so few images.
    built = _with_timms_values(_build(depth) if depth else _whole())
    built(_images()).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize(("depth", "width"), [(1, 96), (2, 192), (3, 384), (4, 768)])
def test_a_stage_has_the_published_width(depth: int, width: int) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=NAME, depth=depth), classes=2)
    assert built.backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, *[56 * 96 // width] * 2, width)


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=f"size 66 does not divide into the 4-pixel patches of '{NAME}'; 64 does"):
        swin.cut(Network(model=NAME), 3, 66)


def test_another_kind_of_model_is_no_swin() -> None:
    with pytest.raises(ValueError, match="'test_vit' is a VisionTransformer, not a Swin transformer"):
        swin.cut(Network(model="test_vit"), 3, 32)
