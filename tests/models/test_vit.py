"""Vision transformers cut at every half of a block, against timm's own untouched models."""

import copy
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models import Grain, vit
from sweeper.models.classifier import Classifier

# timm's own miniatures: class token; register token and a norm behind the mean; attention pooling; then the real ones
SMALL = {"test_vit": 14, "test_vit2": 18, "test_vit3": 20}
LAYERS = [(name, depth) for name, count in SMALL.items() for depth in range(1, count + 1)]
DEIT_LAYERS = [("deit_tiny_patch16_224", depth) for depth in (1, 2, 3, 14, 25, 26)]
BLOCKS = [(name, depth) for name, count in SMALL.items() for depth in range(1, count // 2)]
WHOLE = [*SMALL, "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_tiny_patch16_224.augreg_in21k"]
SIZE = 32


def _build(model: str, depth: int | None = None, grain: Grain = "layer", **axes: Any) -> Classifier:
    torch.manual_seed(3)
    return models.build(Network(model=model, depth=depth, grain=grain, **axes), classes=2, size=SIZE).eval()


def _images(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@cache
def _timms(name: str) -> Any:
    torch.manual_seed(4)
    whole = timm.create_model(name, num_classes=0, img_size=SIZE).eval()
    for parameter in whole.parameters():  # norms, biases and layer scales start constant, as if they were not there
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return whole


@cache
def _timms_outputs(name: str) -> list[Tensor]:
    """What flows behind the embedding and behind each half; last, what goes to the classifier's pooling or beyond."""
    whole, seen = _timms(name), []
    hooks = [whole.blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))]
    for block in whole.blocks:
        hooks.append(block.norm2.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone())))
        hooks.append(block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone())))
    with torch.no_grad():
        last = whole.forward_features(_images())
        last = last if name in ("test_vit", "deit_tiny_patch16_224") else whole.forward_head(last, pre_logits=True)
    for hook in hooks:
        hook.remove()
    return [*seen, last]


def _with_timms_values(built: Classifier, name: str) -> Classifier:
    values = _timms(name).state_dict()
    built.backbone.load_state_dict({key: values[key] for key in built.backbone.state_dict()})
    return built


@pytest.mark.parametrize(("name", "depth"), [*LAYERS, *DEIT_LAYERS])
def test_a_cut_behind_a_half_gives_exactly_what_timm_has_there(name: str, depth: int) -> None:
    cut = _with_timms_values(_build(name, depth), name)
    with torch.no_grad():
        assert torch.equal(cut.backbone(_images()), _timms_outputs(name)[depth - 1])


@pytest.mark.parametrize(("name", "depth"), BLOCKS)
def test_a_cut_behind_a_block_gives_exactly_what_timm_has_there(name: str, depth: int) -> None:
    cut = _with_timms_values(_build(name, depth, "block"), name)
    with torch.no_grad():
        last = 2 * depth == SMALL[name] - 2  # with the norm
        assert torch.equal(cut.backbone(_images()), _timms_outputs(name)[-1 if last else 2 * depth])


@pytest.mark.parametrize("name", SMALL)
def test_the_taps_of_the_whole_model_give_what_timm_has_there(name: str) -> None:
    built, seen = _with_timms_values(_build(name), name), []
    for block in models.blocks(built, "layer"):
        tap = built.get_submodule(block.tap)
        tap.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        built(_images())
    assert all(torch.equal(one, other) for one, other in zip(seen, _timms_outputs(name), strict=True))


@pytest.mark.parametrize("name", WHOLE)
def test_features_of_the_whole_model_are_timms_own(name: str) -> None:
    built, whole = _with_timms_values(_build(name), name), _timms(name)
    with torch.no_grad():
        theirs = whole.forward_head(whole.forward_features(_images()), pre_logits=True)
        torch.testing.assert_close(built.features(_images()), theirs)


@pytest.mark.parametrize("grain", ["block", "layer"])
@pytest.mark.parametrize("depth", [1, 2, 3, 8, None])
@pytest.mark.parametrize("name", [*SMALL, "deit_tiny_distilled_patch16_224"])
def test_every_parameter_and_buffer_belongs_to_exactly_one_block(name: str, depth: int | None, grain: Grain) -> None:
    built = _build(name, depth)
    held = [*dict(built.backbone.named_parameters(prefix="backbone")), *dict(built.backbone.named_buffers("backbone"))]
    owned = [
        sum(key in block.tensors or key.startswith(tuple(f"{each}." for each in block.modules)) for block in blocks)
        for blocks in [models.blocks(built, grain)]
        for key in held
    ]
    assert owned == [1] * len(held)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("test_vit2", {"reg_token", "pos_embed"}),
        ("deit_tiny_distilled_patch16_224", {"cls_token", "dist_token", "pos_embed"}),
    ],
)
def test_tokens_and_the_position_table_belong_to_the_first_layer(name: str, tables: set[str]) -> None:
    built = _build(name)
    first = models.block_keys(built, models.blocks(built, "layer")[0])
    assert {f"backbone.{table}" for table in tables} <= set(first)


def test_a_mean_over_tokens_leaves_out_those_that_are_not_of_the_image() -> None:
    built = _with_timms_values(_build("test_vit2", 5), "test_vit2")  # one register token before four patches
    with torch.no_grad():
        tokens = _timms_outputs("test_vit2")[4]
        torch.testing.assert_close(built.features(_images()), tokens[:, 1:].mean(dim=1))


def test_one_seed_starts_a_shallower_cut_as_a_deeper_one() -> None:
    whole, cut = _build("test_vit").backbone.state_dict(), _build("test_vit", 4).backbone.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in cut.items())


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize("name", SMALL)
def test_every_tensor_of_a_cut_is_trained(name: str, depth: int | None) -> None:
    built = _with_timms_values(_build(name, depth), name).train()
    built(_images()).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


def test_no_tensor_of_an_mlp_half_is_left_behind_an_attention_half() -> None:
    names = [key for key in _build("test_vit", 2).state_dict() if key.startswith("backbone.blocks.")]
    assert {key.split(".")[3] for key in names} == {"norm1", "attn"}


def test_a_copy_of_a_model_has_taps_of_its_own() -> None:
    built = copy.deepcopy(_build("test_vit"))
    seen: list[Tensor] = []
    tap = built.get_submodule(models.blocks(built, "layer")[1].tap)
    tap.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    built(_images())
    assert len(seen) == 1


def test_a_flat_head_takes_all_tokens() -> None:
    assert _build("test_vit", 3, head="flatten").head.in_features == 5 * 64


def test_a_flat_head_on_a_model_that_pools_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="'test_vit2' pools before its last layer"):
        _build("test_vit2", head="flatten")


@pytest.mark.parametrize("source", ["red", "sum"])
def test_one_channel_makes_a_patch_embedding_of_one_channel(source: str) -> None:
    assert _build("test_vit", input=source).get_parameter("backbone.patch_embed.proj.weight").shape == (64, 1, 16, 16)


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="size 40 does not divide into the 16-pixel patches of 'test_vit'; 32 does"):
        vit.cut(Network(model="test_vit"), 3, 40)


def test_a_transformer_with_other_blocks_is_no_plain_vit() -> None:
    with pytest.raises(ValueError, match="'vit_relpos_small_patch16_224' has no blocks of an attention and an MLP"):
        vit.cut(Network(model="vit_relpos_small_patch16_224"), 3, 224)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("vit_small_patch8_224.dino", 785), ("vit_small_patch16_224.dino", 197), ("vit_base_patch32_224", 50)],
)
def test_an_image_of_224_pixels_has_a_token_for_each_patch_and_a_class_token(name: str, tokens: int) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=name, depth=1), classes=2)
    assert built.backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape[1] == tokens


def test_deit_small_has_the_26_layers_that_the_feature_reuse_study_probes() -> None:
    with torch.device("meta"):
        built = models.build(Network(model="deit_small_patch16_224"), classes=2)
    halves = [f"blocks.{block}.{half}" for block in range(12) for half in ("attn", "mlp")]
    assert [block.name for block in models.blocks(built, "layer")] == ["patch_embed", *halves, "norm"]


@pytest.mark.parametrize("name", ["vit_base_patch32_clip_224", "vit_tiny_r_s16_p8_224", "deit3_small_patch16_224"])
def test_a_plain_vit_that_no_table_names_is_found_in_timm(name: str) -> None:
    with torch.device("meta"):
        whole = timm.create_model(name, num_classes=0)
    blocks = sum(isinstance(each, nn.Module) for each in whole.blocks)
    assert (models.MODELS[name].family, models.MODELS[name].blocks["block"]) == ("vit", blocks)
