"""Parameters, multiply-accumulates and shapes, against the published tables, to their printed digits."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import pytest
import torch
from built import build_meta, count_parameters
from torch.utils.flop_counter import FlopCounterMode

from sweeper import models
from sweeper.cell import Network
from sweeper.models import Grain
from sweeper.models.cost import Cost

# Peng et al. 2023, by their code: layer point -> output shape, backbone parameters in M, MACs in G, all parameters in M
# with a pooled and with a flattened head of two outputs
RESNET50_POINTS = {
    1: ((64, 56, 56), ".010", ".118", ".010", ".411"),
    2: ((256, 56, 56), ".085", ".349", ".085", "1.690"),
    3: ((256, 56, 56), ".155", ".568", ".155", "1.761"),
    4: ((256, 56, 56), ".225", ".786", ".226", "1.831"),
    5: ((512, 28, 28), ".605", "1.158", ".606", "1.408"),
    6: ((512, 28, 28), ".885", "1.377", ".886", "1.688"),
    7: ((512, 28, 28), "1.165", "1.595", "1.166", "1.968"),
    8: ((512, 28, 28), "1.445", "1.814", "1.446", "2.248"),
    9: ((1024, 14, 14), "2.957", "2.186", "2.959", "3.359"),
    10: ((1024, 14, 14), "4.075", "2.404", "4.077", "4.476"),
    11: ((1024, 14, 14), "5.192", "2.623", "5.194", "5.593"),
    12: ((1024, 14, 14), "6.309", "2.841", "6.311", "6.710"),
    13: ((1024, 14, 14), "7.426", "3.060", "7.428", "7.828"),
    14: ((1024, 14, 14), "8.543", "3.278", "8.545", "8.945"),
    15: ((2048, 7, 7), "14.583", "3.650", "14.587", "14.784"),
    16: ((2048, 7, 7), "19.045", "3.869", "19.050", "19.246"),
    17: ((2048, 7, 7), "23.508", "4.087", "23.512", "23.709"),
}
# The same study: blocks kept -> output shape, backbone parameters in M, MACs in G
DENSENET_POINTS = {
    ("densenet121", 1): ((128, 28, 28), ".378", "1.261"),
    ("densenet121", 2): ((256, 14, 14), "1.430", "2.077"),
    ("densenet121", 3): ((512, 7, 7), "4.794", "2.729"),
    ("densenet121", 4): ((1024, 7, 7), "6.954", "2.833"),
    ("densenet201", 1): ((128, 28, 28), ".378", "1.261"),
    ("densenet201", 2): ((256, 14, 14), "1.430", "2.077"),
    ("densenet201", 3): ((896, 7, 7), "11.111", "3.952"),
    ("densenet201", 4): ((1920, 7, 7), "18.093", "4.289"),
}
# The same study's counts with two outputs, in M
CBR_PARAMETERS = {"cbr_larget": "8.539", "cbr_largew": "8.443", "cbr_small": "2.114", "cbr_tiny": "4.310"}
# Raghu et al. 2019; all four are the kernels behind the first convolution and those of a head of five outputs
RAGHU_PARAMETERS = {
    ("cbr_larget", None): 8_532_480,
    ("cbr_largew", None): 8_432_128,
    ("cbr_small", None): 2_108_672,
    ("cbr_tiny", 32): 1_076_480,
}
# By hand: 224 -6 -> pool -> ... for 7x7, -4 for 5x5
CBR_OUTPUTS = {
    "cbr_larget": (512, 1, 1),
    "cbr_largew": (512, 7, 7),
    "cbr_small": (256, 7, 7),
    "cbr_tiny": (512, 9, 9),
    "cbr_mini": (128, 14, 14),
}
# Peng et al. 2023: what keeps its width -> all parameters in M, with two outputs. They count residual blocks from 0
# where we count the stem as 1.
SLIM_BLOCKS = {
    ("resnet50", 1): "6.102",
    ("resnet50", 2): "7.137",
    ("resnet50", 3): "12.948",
    ("densenet201", 1): "5.099",
    ("densenet201", 2): "6.315",
    ("densenet201", 3): "13.831",
}
SLIM_LAYERS = {1: "5.905", 14: "12.948", 15: "17.874", 16: "20.693", 17: "23.512"}
# Published by the makers: 1000 outputs, torchvision's and timm's own lists
WHOLE = {
    "alexnet": 61_100_840,
    "densenet161": 28_681_000,
    "efficientnet_b0": 5_288_548,
    "resnet152": 60_192_808,
    "deit_small_patch16_224": 22_050_664,
    "swin_tiny_patch4_window7_224": 28_288_354,
}


def _printed(number: float) -> str:
    return f"{number:.3f}".removeprefix("0")


@cache
def _count(model: str, depth: int | None, grain: Grain = "layer", head: Literal["pool", "flatten"] = "pool") -> Cost:
    return models.count(Network(model=model, depth=depth, grain=grain, head=head), classes=2)


def _output_shape(model: str, depth: int | None, grain: Grain) -> Sequence[int]:
    return build_meta(model, depth, grain).backbone(torch.zeros(1, 3, 224, 224, device="meta")).shape[1:]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_backbone_parameters_at_each_layer_point(point: int) -> None:
    assert _printed(_count("resnet50", point).backbone_parameters / 1e6) == RESNET50_POINTS[point][1]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_macs_at_each_layer_point(point: int) -> None:
    assert _printed(_count("resnet50", point).macs / 1e9) == RESNET50_POINTS[point][2]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_parameters_with_a_pooled_head_of_two(point: int) -> None:
    assert _printed(_count("resnet50", point).parameters / 1e6) == RESNET50_POINTS[point][3]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_parameters_with_a_flattened_head_of_two(point: int) -> None:
    assert _printed(_count("resnet50", point, head="flatten").parameters / 1e6) == RESNET50_POINTS[point][4]


@pytest.mark.parametrize("point", RESNET50_POINTS)
def test_resnet50_has_the_published_output_shape_at_each_layer_point(point: int) -> None:
    assert _output_shape("resnet50", point, "layer") == RESNET50_POINTS[point][0]


@pytest.mark.parametrize(("name", "depth"), DENSENET_POINTS)
def test_densenets_have_the_published_output_shape_behind_each_block(name: str, depth: int) -> None:
    assert _output_shape(name, depth, "block") == DENSENET_POINTS[name, depth][0]


@pytest.mark.parametrize(("name", "depth"), DENSENET_POINTS)
def test_densenets_have_the_published_backbone_parameters_behind_each_block(name: str, depth: int) -> None:
    assert _printed(_count(name, depth, "block").backbone_parameters / 1e6) == DENSENET_POINTS[name, depth][1]


@pytest.mark.parametrize(("name", "depth"), DENSENET_POINTS)
def test_densenets_have_the_published_macs_behind_each_block(name: str, depth: int) -> None:
    assert _printed(_count(name, depth, "block").macs / 1e9) == DENSENET_POINTS[name, depth][2]


@pytest.mark.parametrize("name", CBR_PARAMETERS)
def test_cbr_models_have_the_published_number_of_parameters(name: str) -> None:
    assert _printed(_count(name, None).parameters / 1e6) == CBR_PARAMETERS[name]


@pytest.mark.parametrize(("name", "width"), RAGHU_PARAMETERS)
def test_cbr_models_have_the_kernels_that_raghu_et_al_count(name: str, width: int | None) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=name, width=width), classes=5)
    kernels = [tensor for name, tensor in built.named_parameters() if name.endswith(("conv.weight", "head.weight"))]
    assert sum(each.numel() for each in kernels[1:]) == RAGHU_PARAMETERS[name, width]


@pytest.mark.parametrize("name", CBR_OUTPUTS)
def test_cbr_models_shrink_an_image_as_their_kernels_and_pools_say(name: str) -> None:
    assert _output_shape(name, None, "block") == CBR_OUTPUTS[name]


@pytest.mark.parametrize(("name", "slim"), SLIM_BLOCKS)
def test_hybrids_slimmed_by_block_have_the_published_parameters(name: str, slim: int) -> None:
    assert _printed(models.count(Network(model=name, slim=slim), classes=2).parameters / 1e6) == SLIM_BLOCKS[name, slim]


@pytest.mark.parametrize("slim", SLIM_LAYERS)
def test_hybrids_slimmed_by_layer_have_the_published_parameters(slim: int) -> None:
    network = Network(model="resnet50", slim=slim, grain="layer")
    assert _printed(models.count(network, classes=2).parameters / 1e6) == SLIM_LAYERS[slim]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_models_have_the_parameters_that_their_makers_state(name: str) -> None:
    assert models.count(Network(model=name), classes=1000).parameters == WHOLE[name]


def test_the_head_is_what_parameters_have_more_than_the_backbones() -> None:
    cost = models.count(Network(model="cbr_mini"), classes=7)
    assert cost.parameters - cost.backbone_parameters == 7 * 128 + 7


def test_macs_are_half_the_operations_that_torch_counts() -> None:
    built = models.build(Network(model="cbr_mini"), classes=2).eval()
    with FlopCounterMode(display=False) as counter:
        built(torch.zeros(1, 3, 40, 40))
    assert models.count(Network(model="cbr_mini"), classes=2, size=40).macs == counter.get_total_flops() / 2


def test_counting_draws_nothing() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    models.count(Network(model="resnet10t", slim=1), classes=2, size=64)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_channel_costs_less_than_three() -> None:
    three = build_meta("resnet10t")
    cost = models.count(Network(model="resnet10t", input="red"), classes=2)
    assert count_parameters(three) - cost.parameters == 2 * 24 * 3 * 3
