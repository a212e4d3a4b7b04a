"""What is said of models before they are built, against the models that are built and against timm."""

import subprocess
import sys

import pytest
import timm
import torch
from built import EVERY, build_meta, whole_meta

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Family, Grain

CBR_DEPTHS = [(name, depth) for name, info in MODELS.items() if info.shape for depth in range(1, len(info.stages) + 1)]
CONVOLUTIONAL = [each for each in EVERY if MODELS[str(each.values[0])].multiple == 1]
HUNGRY = [
    *(("densenet121", grain, depth) for grain, depth in (("block", 1), ("block", 2), ("block", 3), ("layer", 31))),
    *(("inception_v3", "layer", depth) for depth in (1, 2, 3, 4, 5, 6, 9, 14, 16)),
    *(("alexnet", "layer", depth) for depth in (1, 2, 5, 7)),
    *((name, "layer", depth) for name, depth in CBR_DEPTHS if name == "cbr_larget"),
]
"""Models that lose pixels at the rim or in unpadded pools, cut at where they do and where they do not."""
FAMILIES: dict[str, Family] = {
    "resnet152": "resnet",
    "densenet201.tv_in1k": "densenet",
    "inception_v3": "inception",
    "tf_efficientnet_b0": "efficientnet",
    "alexnet": "alexnet",
    "deit_small_patch16_224": "vit",
    "swin_base_patch4_window7_224": "swin",
    "cbr_tiny": "cbr",
    "resnet50_clip.openai": "generic",
}


def test_the_table_is_read_without_torch() -> None:
    script = "import sys, sweeper.models; sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_smallest_image_leaves_one_pixel_in_the_whole_model(name: str) -> None:
    smallest, built = MODELS[name].smallest(None, "block"), whole_meta(name)
    output = built.backbone(torch.zeros(2, 3, smallest, smallest, device="meta"))
    assert output.numel() == 2 * built.trunk.width


@pytest.mark.parametrize(("name", "grain", "depth"), HUNGRY)
def test_the_smallest_image_leaves_one_pixel_in_a_cut_model(name: str, grain: Grain, depth: int) -> None:
    smallest, built = MODELS[name].smallest(depth, grain), build_meta(name, depth, grain)
    output = built.backbone(torch.zeros(2, 3, smallest, smallest, device="meta"))
    assert output.numel() == 2 * built.trunk.width


@pytest.mark.parametrize(("name", "grain", "depth"), HUNGRY)
def test_a_pixel_less_than_the_smallest_is_too_little_for_a_cut_model(name: str, grain: Grain, depth: int) -> None:
    too_small, built = MODELS[name].smallest(depth, grain) - 1, build_meta(name, depth, grain)
    with pytest.raises(RuntimeError, match=r"too small|greater than actual input size"):
        built.backbone(torch.zeros(2, 3, too_small, too_small, device="meta"))


@pytest.mark.parametrize("name", ["resnet10t", "resnet18", "resnet26", "cbr_mini"])
def test_one_pixel_can_be_trained_on_where_the_table_says_so(name: str) -> None:
    built = models.build(Network(model=name), classes=2).train()
    built(torch.randn(3, 3, 1, 1)).sum().backward()
    assert MODELS[name].smallest(None, "layer") == 1
    assert all(each.grad is not None and each.grad.isfinite().all() for each in built.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_the_tags_are_those_that_timm_has_weights_for(name: str) -> None:
    assert sorted(MODELS[name].tags) == sorted(each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*"))


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.multiple > 1])
def test_images_must_be_a_multiple_of_the_patch(name: str) -> None:
    (height, width) = whole_meta(name).backbone.get_submodule("patch_embed").patch_size  # pyright: ignore
    assert MODELS[name].multiple == height == width


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_of_a_model_is_known_by_its_name(name: str) -> None:
    assert models.family_of(name) == FAMILIES[name]


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


@pytest.mark.parametrize(("size", "fits"), [(224, True), (32, True), (40, False)])
def test_images_of_a_vit_are_a_multiple_of_its_patch(size: int, fits: bool) -> None:
    said = "size 40 is impossible for 'vit_tiny_patch16_224': it must be a multiple of 16 pixels"
    assert models.problem(Network(model="vit_tiny_patch16_224"), size) == (None if fits else said)


def test_too_small_an_image_for_a_cut_model_is_answered_with_its_depth() -> None:
    assert models.problem(Network(model="inception_v3", depth=4), 42) == (
        "size 42 is too small for depth 4 of 'inception_v3': it needs images of at least 43 pixels"
    )


def test_a_width_is_of_the_cbr_models_alone() -> None:
    assert models.problem(Network(model="resnet18", width=32)) == (
        "width 32 of 'resnet18' is impossible: the cbr_* models alone have one; leave it out"
    )


def test_a_cbr_model_may_have_any_width() -> None:
    assert models.problem(Network(model="cbr_tiny", width=7)) is None


@pytest.mark.parametrize(("depth", "kept"), [(None, 4), (2, 2)])
def test_no_more_blocks_keep_their_width_than_are_kept(depth: int | None, kept: int) -> None:
    assert models.problem(Network(model="resnet50", slim=kept, depth=depth)) is None
    assert models.problem(Network(model="resnet50", slim=kept + 1, depth=depth)) == (
        f"slim={kept + 1} of 'resnet50' is impossible: it is 0 to {kept}, the blocks that are kept"
    )


def test_a_densenet_is_not_slimmed_by_layer() -> None:
    assert models.problem(Network(model="densenet201", slim=3, grain="layer")) == (
        "slim=3 of 'densenet201' is impossible at grain 'layer': a DenseNet is slimmed at grain 'block'"
    )


def test_a_slim_factor_that_slims_nothing_is_a_mistake() -> None:
    assert models.problem(Network(model="resnet50", slim_factor=4)) == (
        "slim_factor=4 slims nothing of 'resnet50' without slim; leave it out, or give slim"
    )


def test_a_slim_factor_leaves_some_channels() -> None:
    assert models.problem(Network(model="resnet10t", slim=0, slim_factor=16)) is None
    assert models.problem(Network(model="resnet10t", slim=0, slim_factor=17)) == (
        "slim_factor=17 of 'resnet10t' is impossible: it is 1 to 16"
    )
