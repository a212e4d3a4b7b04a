"""TransFusion's hybrids: what keeps its shape, what narrows, and how the new layers start."""

import math
from functools import cache

import pytest
import torch
from built import whole_meta
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Grain

BY_BLOCK = [(name, slim) for name in ("resnet18", "resnet10t", "densenet121") for slim in range(5)]
BY_LAYER = [(name, slim) for name in ("resnet18", "resnet26") for slim in (0, 1, 2, 5, 8, 9)]
BOTH: list[tuple[str, int, Grain]] = [
    *((name, slim, "block") for name, slim in BY_BLOCK),
    *((name, slim, "layer") for name, slim in BY_LAYER),
]


@cache
def _shapes(name: str, slim: int | None, grain: Grain = "block", factor: int = 2) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        built = models.build(Network(model=name, slim=slim, slim_factor=factor, grain=grain), classes=2)
    return {key: tuple(tensor.shape) for key, tensor in built.state_dict().items()}


def _build(name: str, **fields: object) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return models.build(Network(model=name, **fields), classes=2).state_dict()  # pyright: ignore


@pytest.mark.parametrize(("name", "slim", "grain"), BOTH)
def test_blocks_that_keep_their_width_have_the_shapes_of_the_whole_model(name: str, slim: int, grain: Grain) -> None:
    whole, hybrid = whole_meta(name), _shapes(name, slim, grain)
    kept = [key for block in models.blocks(whole, grain)[:slim] for key in models.block_keys(whole, block)]
    shapes = {key: tuple(tensor.shape) for key, tensor in whole.state_dict().items()}
    assert [hybrid[key] for key in kept] == [shapes[key] for key in kept]


@pytest.mark.parametrize(("name", "slim", "grain"), BOTH)
def test_every_block_behind_them_is_narrower(name: str, slim: int, grain: Grain) -> None:
    whole, hybrid = whole_meta(name), _shapes(name, slim, grain)
    state = whole.state_dict()
    sizes = [
        [(math.prod(hybrid[key]), state[key].numel()) for key in models.block_keys(whole, block)]
        for block in models.blocks(whole, grain)[slim:]
    ]
    assert all(sum(now for now, _ in block) < sum(before for _, before in block) for block in sizes)


@pytest.mark.parametrize(("name", "slim", "grain"), BOTH)
def test_a_hybrid_has_the_names_of_the_whole_model(name: str, slim: int, grain: Grain) -> None:
    assert list(_shapes(name, slim, grain)) == list(_shapes(name, None))


@pytest.mark.parametrize(("name", "slim", "grain"), [each for each in BOTH if each[0] != "resnet26"])
def test_a_hybrid_can_be_trained(name: str, slim: int, grain: Grain) -> None:
    built = models.build(Network(model=name, slim=slim, grain=grain), classes=2).train()
    built(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_a_block_that_is_slimmed_whole_has_its_channels_divided(factor: int) -> None:
    assert _shapes("resnet50", 3, factor=factor)["backbone.layer4.2.conv3.weight"] == (
        2048 // factor,
        512 // factor,
        1,
        1,
    )


def test_a_block_behind_one_of_its_stage_that_keeps_its_width_is_narrower_inside_alone() -> None:
    shapes = _shapes("resnet50", 16, "layer")
    assert shapes["backbone.layer4.2.conv1.weight"] == (256, 2048, 1, 1)
    assert shapes["backbone.layer4.2.conv3.weight"] == (2048, 256, 1, 1)


@pytest.mark.parametrize(("name", "grain", "slim"), [("resnet18", "block", 4), ("densenet121", "block", 4)])
def test_to_keep_all_blocks_slims_nothing(name: str, grain: Grain, slim: int) -> None:
    whole, hybrid = _build(name), _build(name, slim=slim, grain=grain)
    assert all(torch.equal(hybrid[key], whole[key]) for key in whole)


def test_one_seed_starts_the_kept_blocks_of_a_hybrid_as_those_of_the_whole_model() -> None:
    whole, hybrid = _build("resnet18"), _build("resnet18", slim=2)
    kept = [key for key in whole if key.startswith(("backbone.conv1", "backbone.layer1", "backbone.layer2"))]
    assert all(torch.equal(hybrid[key], whole[key]) for key in kept)


def test_one_seed_starts_a_cut_hybrid_as_the_whole_hybrid() -> None:
    whole, cut = _build("resnet18", slim=1), _build("resnet18", slim=1, depth=2)
    backbone = [key for key in cut if key.startswith("backbone.")]
    assert all(torch.equal(cut[key], whole[key]) for key in backbone)


@pytest.mark.parametrize(
    ("name", "key", "fan"),
    [
        ("resnet18", "layer4.1.conv1.weight", 256 * 9),
        ("densenet121", "features.denseblock4.denselayer16.conv1.weight", 0),
    ],
)
def test_new_layers_start_with_the_sd_of_he_et_al(name: str, key: str, fan: int) -> None:
    weight = _build(name, slim=1)[f"backbone.{key}"]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (fan or weight[0].numel())), rel=0.05)


def test_new_residual_blocks_start_adding_nothing_as_timms_do() -> None:
    hybrid = _build("resnet18", slim=1)
    assert not hybrid["backbone.layer4.1.bn2.weight"].any()
    assert hybrid["backbone.layer4.1.bn1.weight"].all()


def test_a_norm_of_a_hybrid_counts_the_channels_that_it_has() -> None:
    built = models.build(Network(model="resnet18", slim=0), classes=2)
    norms = [module for module in built.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.num_features == len(norm.weight) == len(norm.running_mean) for norm in norms)  # pyright: ignore


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.family not in ("resnet", "densenet")])
def test_other_families_have_no_hybrids(name: str) -> None:
    assert models.problem(Network(model=name, slim=1)) == (
        f"slim=1 of '{name}' is impossible: only ResNets and DenseNets have slim variants"
    )
