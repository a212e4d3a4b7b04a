"""What is said of models before they are built, against the models that are built."""

import subprocess
import sys
from functools import cache

import pytest
import timm
import torch

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Grain
from sweeper.models.classifier import Classifier

EVERY_DEPTH = [
    (name, grain, depth)
    for name, info in MODELS.items()
    for grain, count in info.blocks.items()
    for depth in sorted({1, count // 2, count - 1})
]
CBR_DEPTHS = [(name, depth) for name, info in MODELS.items() if info.shape for depth in range(1, len(info.stages) + 1)]


@cache
def _build_meta(model: str, depth: int | None = None, grain: Grain = "block") -> Classifier:
    with torch.device("meta"):
        return models.build(Network(model=model, depth=depth, grain=grain), classes=2).eval()


def test_the_table_is_read_without_torch() -> None:
    script = "import sys, sweeper.models; sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_built_model_has_as_many_blocks_as_the_table_says(name: str) -> None:
    built = _build_meta(model=name)
    assert {grain: len(models.blocks(built, grain)) for grain in ("block", "layer")} == MODELS[name].blocks


@pytest.mark.parametrize(("name", "grain", "depth"), EVERY_DEPTH)
def test_a_cut_model_has_depth_blocks(name: str, grain: Grain, depth: int) -> None:
    assert len(models.blocks(_build_meta(model=name, depth=depth, grain=grain), grain)) == depth


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_image_leaves_one_pixel_in_the_whole_model(name: str) -> None:
    smallest = MODELS[name].smallest(None, "block")
    features = _build_meta(model=name).backbone(torch.zeros(2, 3, smallest, smallest, device="meta"))
    assert features.shape[2:] == (1, 1)


@pytest.mark.parametrize(("name", "depth"), CBR_DEPTHS)
def test_the_smallest_image_leaves_one_pixel_in_a_cut_cbr_model(name: str, depth: int) -> None:
    smallest = MODELS[name].smallest(depth, "layer")
    built = _build_meta(model=name, depth=depth)
    assert built.backbone(torch.zeros(2, 3, smallest, smallest, device="meta")).shape[2:] == (1, 1)


@pytest.mark.parametrize(("name", "depth"), [each for each in CBR_DEPTHS if each[0] != "cbr_mini"])
def test_a_pixel_less_than_the_smallest_is_too_little_for_an_unpadded_cbr_model(name: str, depth: int) -> None:
    too_small = MODELS[name].smallest(depth, "layer") - 1
    built = models.build(Network(model=name, depth=depth), classes=2).eval()
    with pytest.raises(RuntimeError, match=r"too small|greater than actual input size"), torch.no_grad():
        built(torch.zeros(1, 3, too_small, too_small))


@pytest.mark.parametrize("name", ["resnet10t", "resnet18", "resnet26", "cbr_mini"])
def test_one_pixel_can_be_trained_on_where_the_table_says_so(name: str) -> None:
    built = models.build(Network(model=name), classes=2).train()
    built(torch.randn(2, 3, 1, 1)).sum().backward()
    assert MODELS[name].smallest(None, "layer") == 1
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.family == "resnet"])
def test_the_tags_are_those_that_timm_has_imagenet_weights_for(name: str) -> None:
    known = {each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")}
    assert set(MODELS[name].tags) == {tag for tag in known if "in1k" in tag}


def test_a_name_with_a_tag_has_the_entry_of_the_name() -> None:
    assert MODELS["resnet50.a1_in1k"] is MODELS["resnet50"]


def test_a_name_with_a_tag_is_in_the_table() -> None:
    assert "resnet50.a1_in1k" in MODELS


@pytest.mark.parametrize("name", ["resnet50.a1", "cbr_mini.a1_in1k", "resnet50.", ""])
def test_a_name_with_a_wrong_tag_is_not_in_the_table(name: str) -> None:
    assert name not in MODELS


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="model 'resnet5' is unknown; did you mean resnet50"):
        MODELS["resnet5"]


def test_an_unknown_tag_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"did you mean resnet18\.gluon_in1k"):
        MODELS["resnet18.glon_in1k"]


def test_a_tag_on_a_model_without_tags_is_a_mistake() -> None:
    assert models.problem(Network(model="cbr_tiny.a1_in1k")) == (
        "model 'cbr_tiny.a1_in1k' is unknown; 'cbr_tiny' has no tags"
    )


@pytest.mark.parametrize(("grain", "depth"), [("layer", 18), ("block", 5), ("layer", 0)])
def test_an_impossible_depth_is_answered_with_the_possible_ones(grain: Grain, depth: int) -> None:
    count = {"layer": 17, "block": 4}[grain]
    assert models.problem(Network(model="resnet50", depth=depth, grain=grain)) == (
        f"depth {depth} of 'resnet50' is impossible: at grain '{grain}' it is 1 to {count}"
    )


def test_too_small_an_image_is_answered_with_the_smallest() -> None:
    assert models.problem(Network(model="cbr_larget"), 216) == (
        "size 216 is too small for 'cbr_larget': it needs images of at least 217 pixels"
    )


def test_a_shallower_cut_accepts_a_smaller_image() -> None:
    assert models.problem(Network(model="cbr_larget", depth=2), 64) is None
