"""Models that no table names: cut between timm's depth groups, or refused; against timm's own untouched models."""

from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from sweeper import models
from sweeper.cell import Network
from sweeper.models import Grain
from sweeper.models.classifier import Classifier

SIZE = 64
# Where timm's stages end, by timm's names; the last one's block may hold more (a norm, a pooling with weights)
STAGES = {
    "regnetx_002": ("s1", "s2", "s3", "s4"),
    "convnext_atto": ("stages.0", "stages.1", "stages.2", "stages.3"),
    "mobilenetv3_small_050": tuple(f"blocks.{stage}" for stage in range(6)),
    "resnet50_clip.openai": ("stages.0", "stages.1", "stages.2", "stages.3"),
    "resnetv2_50x1_bit.goog_in21k": ("stages.0", "stages.1", "stages.2", "stages.3"),
    "focalnet_tiny_srf.ms_in1k": ("layers.0", "layers.1", "layers.2", "layers.3"),
    "swinv2_tiny_window8_256": ("layers.0", "layers.1", "layers.2", "layers.3"),
    "mixer_s32_224": tuple(f"blocks.{block}" for block in range(8)),
}
QUICK = ("regnetx_002", "convnext_atto", "mobilenetv3_small_050")
# By counting residual blocks in timm's definitions: stem, blocks, then what follows them if it holds tensors
LAYERS = {
    "regnetx_002": 1 + (1 + 1 + 4 + 7),
    "convnext_atto": 1 + (2 + 2 + 6 + 2) + 1,
    "mobilenetv3_small_050": 1 + (1 + 2 + 3 + 2 + 3 + 1) + 1,
    "resnet50_clip.openai": 1 + (3 + 4 + 6 + 3) + 1,
    "resnetv2_50x1_bit.goog_in21k": 1 + (3 + 4 + 6 + 3) + 1,
    "focalnet_tiny_srf.ms_in1k": 1 + (2 + 2 + 6 + 2) + 1,
    "swinv2_tiny_window8_256": 1 + (2 + 2 + 6 + 2) + 1,
    "mixer_s32_224": 1 + 8 + 1,
}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in STAGES]
CUTS = [
    pytest.param(name, depth, marks=() if name in QUICK else pytest.mark.slow)
    for name, stages in STAGES.items()
    for depth in range(1, len(stages))
]
REFUSED = {
    "poolformer_s12": "timm knows no depth groups for it",
    "coat_tiny": "'cls_token1' still runs when the next one has started",
    "xcit_nano_12_p16_224": "some of its depth groups have class tokens and others have none",
    "pvt_v2_b0": "laid out in different ways",
    "rdnet_tiny": "coarse grouping is not implemented",
}


def _build(name: str, depth: int | None = None, grain: Grain = "block", **axes: Any) -> Classifier:
    torch.manual_seed(3)
    return models.build(Network(model=name, depth=depth, grain=grain, **axes), classes=2, size=SIZE).eval()


def _images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@cache
def _timms(name: str) -> Any:
    torch.manual_seed(4)
    fixed = {"img_size": SIZE} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    whole = timm.create_model(name, num_classes=0, **fixed).eval()
    for parameter in whole.parameters():  # norms, biases and layer scales start constant, as if they were not there
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.rand(parameter.shape))
    return whole


def _with_timms_values(built: Classifier, name: str) -> Classifier:
    values = _timms(name).state_dict()
    built.backbone.load_state_dict({key: values[key] for key in built.backbone.state_dict()})
    return built


@torch.no_grad()
def _timms_output(name: str, module: str) -> Tensor:
    whole, seen = _timms(name), []
    hook = whole.get_submodule(module).register_forward_hook(lambda _module, _in, output: seen.append(output.clone()))
    whole(_images())
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(("name", "depth"), CUTS)
def test_a_cut_behind_a_stage_gives_exactly_what_timm_has_there(name: str, depth: int) -> None:
    cut = _with_timms_values(_build(name, depth), name)
    with torch.no_grad():
        assert torch.equal(cut.backbone(_images()), _timms_output(name, STAGES[name][depth - 1]))


@pytest.mark.parametrize("name", NAMES)
def test_features_of_the_whole_model_are_timms_own(name: str) -> None:
    built, whole = _with_timms_values(_build(name), name), _timms(name)
    with torch.no_grad():
        theirs = whole.forward_head(whole.forward_features(_images()), pre_logits=True)
        torch.testing.assert_close(built.features(_images()), theirs.flatten(1))


@pytest.mark.parametrize("name", NAMES)
def test_there_are_as_many_blocks_as_timm_defines(name: str) -> None:
    assert models.MODELS[name].blocks == {"block": len(STAGES[name]), "layer": LAYERS[name]}


@pytest.mark.parametrize("grain", ["block", "layer"])
@pytest.mark.parametrize("depth", [1, 4, None])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_buffer_belongs_to_exactly_one_block(name: str, depth: int | None, grain: Grain) -> None:
    built = _build(name, depth, "layer")
    held = [*dict(built.backbone.named_parameters("backbone")), *dict(built.backbone.named_buffers("backbone"))]
    blocks = [(each.tensors, tuple(f"{module}." for module in each.modules)) for each in models.blocks(built, grain)]
    owned = [sum(key in tensors or key.startswith(modules) for tensors, modules in blocks) for key in held]
    assert owned == [1] * len(held)


@pytest.mark.parametrize("depth", [1, 3, None])
@pytest.mark.parametrize("name", NAMES)
def test_a_cut_holds_the_tensors_of_its_first_layers_and_no_others(name: str, depth: int | None) -> None:
    whole = _build(name)
    first = [key for each in models.blocks(whole, "layer")[:depth] for key in models.block_keys(whole, each)]
    cut = _build(name, depth, "layer").state_dict()
    assert sorted(key for key in cut if key.startswith("backbone.")) == sorted(first)


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_starts_a_shallower_cut_as_a_deeper_one(name: str) -> None:
    whole, cut = _build(name).backbone.state_dict(), _build(name, 3, "layer").backbone.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in cut.items())


@pytest.mark.parametrize("name", NAMES)
def test_trying_a_model_out_draws_nothing_from_the_callers_generator(name: str) -> None:
    torch.manual_seed(6)
    expected = torch.rand(3)
    torch.manual_seed(6)
    assert models.problem(Network(model=name, depth=2, grain="layer"), SIZE) is None
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("depth", [2, None])
@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_a_cut_is_trained(name: str, depth: int | None) -> None:
    built = _with_timms_values(_build(name, depth), name)
    built(_images()).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_tap_of_the_last_block_gives_the_backbones_output(name: str) -> None:
    built, seen = _build(name, 3, "layer"), []
    tap = built.get_submodule(models.blocks(built, "layer")[-1].tap)
    tap.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        assert torch.equal(built.backbone(_images()), seen[0])


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_whose_groups_are_no_depth_is_refused_with_the_reason(name: str) -> None:
    found = models.problem(Network(model=name), 224)
    assert found is not None
    assert f"'{name}' cannot be cut by timm's depth groups" in found
    assert REFUSED[name] in found


def test_a_depth_where_two_branches_are_open_is_refused() -> None:
    found = models.problem(Network(model="dla46_c", depth=5, grain="layer"), 64)
    assert found is not None
    assert "'depth 5 of dla46_c' cannot be cut by timm's depth groups: what is left of it does not give" in found


def test_a_model_that_is_refused_is_not_built() -> None:
    with pytest.raises(ValueError, match="'poolformer_s12' cannot be cut by timm's depth groups: timm knows no depth"):
        models.build(Network(model="poolformer_s12"), classes=2)


def test_a_flat_head_on_a_model_that_pools_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="'convnext_atto' pools before its last layer"):
        _build("convnext_atto", head="flatten")


def test_a_flat_head_takes_the_whole_map_of_a_cut() -> None:
    assert _build("convnext_atto", 2, head="flatten").head.in_features == 80 * 8 * 8


def test_a_name_that_timm_does_not_know_is_unknown() -> None:
    assert models.problem(Network(model="convnext_atta")) is not None


def test_a_tag_that_timm_does_not_know_is_answered_with_its_tags() -> None:
    found = models.problem(Network(model="resnet50_clip.openia"))
    assert found is not None
    assert "did you mean resnet50_clip.openai" in found
