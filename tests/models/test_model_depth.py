"""Cutting and counting, against timm's own activations and the published tables."""

from functools import cache

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Grain
from sweeper.models.classifier import Classifier

# Peng et al. 2023, by their code: layer point -> output shape, backbone parameters in M, MACs in G, all parameters in M
RESNET50_POINTS = {
    1: ((64, 56, 56), ".010", ".118", ".010"),
    2: ((256, 56, 56), ".085", ".349", ".085"),
    3: ((256, 56, 56), ".155", ".568", ".155"),
    4: ((256, 56, 56), ".225", ".786", ".226"),
    5: ((512, 28, 28), ".605", "1.158", ".606"),
    6: ((512, 28, 28), ".885", "1.377", ".886"),
    7: ((512, 28, 28), "1.165", "1.595", "1.166"),
    8: ((512, 28, 28), "1.445", "1.814", "1.446"),
    9: ((1024, 14, 14), "2.957", "2.186", "2.959"),
    10: ((1024, 14, 14), "4.075", "2.404", "4.077"),
    11: ((1024, 14, 14), "5.192", "2.623", "5.194"),
    12: ((1024, 14, 14), "6.309", "2.841", "6.311"),
    13: ((1024, 14, 14), "7.426", "3.060", "7.428"),
    14: ((1024, 14, 14), "8.543", "3.278", "8.545"),
    15: ((2048, 7, 7), "14.583", "3.650", "14.587"),
    16: ((2048, 7, 7), "19.045", "3.869", "19.050"),
    17: ((2048, 7, 7), "23.508", "4.087", "23.512"),
}
# The same study's counts with two outputs, in M
CBR_PARAMETERS = {"cbr_larget": "8.539", "cbr_largew": "8.443", "cbr_small": "2.114", "cbr_tiny": "4.310"}
# By hand: 224 -6 -> pool -> ... for 7x7, -4 for 5x5
CBR_OUTPUTS = {
    "cbr_larget": (512, 1, 1),
    "cbr_largew": (512, 7, 7),
    "cbr_small": (256, 7, 7),
    "cbr_tiny": (512, 9, 9),
    "cbr_mini": (128, 14, 14),
}
# Where the layers of a small ResNet end, in timm's own names
RESNET18_TAPS = ("maxpool", *(f"layer{stage}.{layer}" for stage in (1, 2, 3, 4) for layer in (0, 1)))
BOTH_GRAINS = [(name, grain) for name in MODELS for grain in ("block", "layer")]
CUTS = [(1, "layer"), (3, "layer"), (3, "block"), (None, "block")]


@cache
def _build_meta(model: str, depth: int | None = None, grain: Grain = "block") -> Classifier:
    with torch.device("meta"):
        return models.build(Network(model=model, depth=depth, grain=grain), classes=2).eval()


def _count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def _printed(number: float) -> str:
    return f"{number:.3f}".removeprefix("0")


def _randomise(model: nn.Module) -> nn.Module:
    """Norm layers with values of their own, so that no residual branch is zero."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return model.eval()


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_backbone_parameters_at_each_layer_point(point: int) -> None:
    built = _build_meta(model="resnet50", depth=point, grain="layer")
    assert _printed(_count(built.backbone) / 1e6) == RESNET50_POINTS[point][1]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_parameters_with_a_pooled_head_of_two(point: int) -> None:
    assert (
        _printed(_count(_build_meta(model="resnet50", depth=point, grain="layer")) / 1e6) == (RESNET50_POINTS[point][3])
    )


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_output_shape_at_each_layer_point(point: int) -> None:
    built = _build_meta(model="resnet50", depth=point, grain="layer")
    assert built.backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, *RESNET50_POINTS[point][0])


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_macs_at_each_layer_point(point: int) -> None:
    built = _build_meta(model="resnet50", depth=point, grain="layer")
    with FlopCounterMode(display=False) as counter:
        built(torch.zeros(1, 3, 224, 224, device="meta"))
    assert _printed(counter.get_total_flops() / 2 / 1e9) == RESNET50_POINTS[point][2]


@pytest.mark.parametrize(("stage", "point"), [(1, 4), (2, 8), (3, 14), (4, 17)])
def test_resnet50_stages_end_at_the_published_layer_points(stage: int, point: int) -> None:
    by_block = _build_meta(model="resnet50", depth=stage, grain="block")
    by_layer = _build_meta(model="resnet50", depth=point, grain="layer")
    assert list(by_block.state_dict()) == list(by_layer.state_dict())


@pytest.mark.parametrize("name", CBR_PARAMETERS)
def test_cbr_models_have_the_published_number_of_parameters(name: str) -> None:
    assert _printed(_count(_build_meta(model=name)) / 1e6) == CBR_PARAMETERS[name]


@pytest.mark.parametrize("name", CBR_OUTPUTS)
def test_cbr_models_shrink_an_image_as_their_kernels_and_pools_say(name: str) -> None:
    assert _build_meta(model=name).backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, *CBR_OUTPUTS[name])


@pytest.mark.parametrize("depth", range(1, 10))
def test_a_cut_resnet_gives_the_activation_that_timms_whole_model_has_there(depth: int) -> None:
    whole = _randomise(timm.create_model("resnet18", num_classes=0))
    seen: dict[str, torch.Tensor] = {}
    tap = whole.get_submodule(RESNET18_TAPS[depth - 1])
    tap.register_forward_hook(lambda _module, _inputs, output: seen.update(output=output.clone()))
    cut = models.build(Network(model="resnet18", depth=depth, grain="layer"), classes=2).eval()
    cut.backbone.load_state_dict({name: whole.state_dict()[name] for name in cut.backbone.state_dict()})
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole(images)
        assert torch.equal(cut.backbone(images), seen["output"])


@pytest.mark.parametrize("name", ["resnet10t", "resnet26"])
def test_the_uncut_backbone_gives_timms_own_features(name: str) -> None:
    whole = _randomise(timm.create_model(name, num_classes=0))
    built = models.build(Network(model=name), classes=2).eval()
    built.backbone.load_state_dict(whole.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(built.backbone(images).mean((2, 3)), whole(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "grain"), BOTH_GRAINS)
@pytest.mark.parametrize(("depth", "cut_grain"), CUTS)
def test_every_backbone_tensor_belongs_to_exactly_one_block(
    name: str, grain: Grain, depth: int | None, cut_grain: Grain
) -> None:
    built = _build_meta(model=name, depth=depth, grain=cut_grain)
    owned = [key for block in models.blocks(built, grain) for key in models.block_keys(built, block)]
    assert sorted(owned) == sorted(key for key in built.state_dict() if key.startswith("backbone."))


@pytest.mark.parametrize(("name", "grain"), BOTH_GRAINS)
def test_a_cut_model_holds_the_tensors_of_its_first_blocks_and_no_others(name: str, grain: Grain) -> None:
    whole = _build_meta(model=name)
    first = [key for block in models.blocks(whole, grain)[:2] for key in models.block_keys(whole, block)]
    cut = _build_meta(model=name, depth=2, grain=grain)
    assert sorted(cut.state_dict()) == sorted([*first, "head.weight", "head.bias"])


@pytest.mark.parametrize(("name", "grain"), BOTH_GRAINS)
@pytest.mark.parametrize("depth", [1, None])
def test_the_last_blocks_tap_is_the_backbones_output(name: str, grain: Grain, depth: int | None) -> None:
    built = _build_meta(model=name, depth=depth, grain=grain)
    seen: list[object] = []
    tap = built.get_submodule(models.blocks(built, grain)[-1].tap)
    hook = tap.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    features = built.backbone(torch.zeros(1, 3, 224, 224, device="meta"))
    hook.remove()
    assert features is seen[0]


@pytest.mark.parametrize(("name", "grain"), BOTH_GRAINS)
def test_block_names_are_unique(name: str, grain: Grain) -> None:
    names = [block.name for block in models.blocks(_build_meta(model=name), grain)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "grain"), BOTH_GRAINS)
def test_weights_of_blocks_are_the_tensors_of_convolutions(name: str, grain: Grain) -> None:
    built = _build_meta(model=name)
    convolutions = {module for module, each in built.named_modules() if isinstance(each, nn.Conv2d)}
    keys = [key for block in models.weight_keys(built, grain).values() for key in block]
    assert {key.rpartition(".")[0] for key in keys} == convolutions


def test_resnet_layers_are_the_stem_and_then_each_residual_block() -> None:
    names = [block.name for block in models.blocks(_build_meta(model="resnet18"), "layer")]
    assert names == ["stem", *RESNET18_TAPS[1:]]


def test_the_stem_alone_is_one_block_at_either_grain() -> None:
    built = _build_meta(model="resnet18", depth=1, grain="layer")
    assert [block.name for block in models.blocks(built, "block")] == ["stem"]


def test_logits_are_the_head_on_the_mean_over_the_image_plane() -> None:
    built = models.build(Network(model="cbr_mini", depth=2), classes=5).eval()
    images = torch.randn(3, 3, 20, 20)
    pooled = nn.functional.adaptive_avg_pool2d(built.backbone(images), 1).flatten(1)
    torch.testing.assert_close(built(images), pooled @ built.head.weight.T + built.head.bias)


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_a_model_takes_images_of_other_than_three_channels(name: str) -> None:
    built = models.build(Network(model=name), classes=4, channels=1).eval()
    assert built(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_one_seed_starts_a_shallower_cut_as_a_deeper_one(name: str) -> None:
    torch.manual_seed(3)
    whole = models.build(Network(model=name), classes=2).backbone.state_dict()
    torch.manual_seed(3)
    cut = models.build(Network(model=name, depth=2), classes=2).backbone.state_dict()
    assert all(torch.equal(tensor, whole[key]) for key, tensor in cut.items())


def test_another_seed_starts_elsewhere() -> None:
    torch.manual_seed(3)
    one = models.build(Network(model="cbr_mini"), classes=2).backbone.get_parameter("block1.conv.weight")
    torch.manual_seed(4)
    other = models.build(Network(model="cbr_mini"), classes=2).backbone.get_parameter("block1.conv.weight")
    assert not torch.equal(one, other)


def test_a_tagged_name_builds_the_model_of_the_name() -> None:
    assert list(_build_meta(model="resnet18.tv_in1k").state_dict()) == list(_build_meta(model="resnet18").state_dict())


def test_a_classifier_remembers_its_network() -> None:
    network = Network(model="cbr_mini", depth=3)
    assert models.build(network, classes=2).network == network


def test_an_impossible_depth_is_not_built() -> None:
    with pytest.raises(ValueError, match="depth 5 of 'cbr_mini' is impossible: at grain 'block' it is 1 to 4"):
        models.build(Network(model="cbr_mini", depth=5), classes=2)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (2, 0)])
def test_a_model_without_classes_or_channels_is_not_built(classes: int, channels: int) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        models.build(Network(model="cbr_mini"), classes=classes, channels=channels)
