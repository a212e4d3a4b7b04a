"""First layers of other channels, tables of other image sizes, slimmed models and kinds of tensors.

Against timm's own loading, and against what one-channel networks must see.
"""

import math
from functools import lru_cache

import pytest
import timm
import torch
from timm.models import swin_transformer, vision_transformer
from torch import Tensor, nn

from sweeper import models, weights
from sweeper.cell import Network, Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights.kinds import kind_of
from sweeper.weights.pouring import pour_state
from sweeper.weights.report import LoadReport

SOURCE = "file:/a/state.safetensors"
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
FIRST = {"resnet10t": "conv1.0.weight", "cbr_mini": "block1.conv.weight", VIT: "patch_embed.proj.weight"}
# one of each kind of norm layer and of tables that timm's models have
KINDS = ["resnet18", "densenet121", "inception_v3", "efficientnet_b0", "alexnet", "cbr_tiny", "cbr_mini", VIT, SWIN]


def _build(model: str, size: int = 64, **values: object) -> Classifier:
    torch.manual_seed(0)
    return models.build(Network(model=model, **values), classes=2, size=size)  # type: ignore[arg-type]


def _state_of(backbone: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.rand(tensor.shape, generator=generator).add(0.1).to(tensor.dtype)
        for name, tensor in backbone.state_dict().items()
    }


@lru_cache
def _source(model: str) -> dict[str, Tensor]:
    """A whole backbone's state at the model's own image size, all values between 0.1 and 1.1."""
    return _state_of(_build(model, size=224).backbone)


def _pour(model: Classifier, **values: object) -> LoadReport:
    return pour_state(Weights(source=SOURCE, **values), model, _source(model.network.model), seed=0)  # type: ignore[arg-type]


def _first(model: Classifier) -> Tensor:
    return model.backbone.state_dict()[FIRST[model.network.model]]


@pytest.mark.parametrize("model", FIRST)
def test_red_takes_the_first_channels_filters(model: str) -> None:
    built = _build(model, size=224, input="red")
    _pour(built)
    assert torch.equal(_first(built), _source(model)[FIRST[model]][:, :1])


@pytest.mark.parametrize("model", FIRST)
def test_sum_takes_the_sum_of_the_three_channels_filters(model: str) -> None:
    built = _build(model, size=224, input="sum")
    _pour(built)
    assert torch.equal(_first(built), _source(model)[FIRST[model]].sum(dim=1, keepdim=True))


def test_sum_sees_grey_images_as_three_channels_do() -> None:
    one, three = _build("cbr_mini", input="sum").eval(), _build("cbr_mini").eval()
    _pour(one)
    _pour(three)
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    torch.testing.assert_close(one.features(grey), three.features(grey))


@pytest.mark.parametrize("rest", ["stats", "shuffle", "bootstrap", "fixed"])
def test_a_first_layer_is_drawn_with_three_channels_and_then_adapted(rest: str) -> None:
    one, three = _build("cbr_mini", input="red"), _build("cbr_mini")
    _pour(one, rest=rest, blocks=0)
    _pour(three, rest=rest, blocks=0)
    assert torch.equal(_first(one), _first(three)[:, :1])


@pytest.mark.parametrize("values", [{}, {"rest": "stats", "blocks": 0}])
def test_an_adapted_first_layer_is_reported(values: dict[str, object]) -> None:
    assert _pour(_build("cbr_mini", input="red"), **values).reshaped == ("block1.conv.weight",)


def test_a_first_layer_that_keeps_its_start_is_not_reported() -> None:
    assert _pour(_build("cbr_mini", input="red"), blocks=0).reshaped == ()


def test_a_one_channel_source_is_copied_into_a_one_channel_model() -> None:
    built = _build("cbr_mini", input="red")
    state = _source("cbr_mini") | {"block1.conv.weight": _source("cbr_mini")["block1.conv.weight"][:, 1:2]}
    report = pour_state(Weights(source=SOURCE), built, state, seed=0)
    assert torch.equal(_first(built), state["block1.conv.weight"])
    assert report.reshaped == ()


def test_a_one_channel_source_sees_grey_alike_through_three_channels() -> None:
    one, three = _build("cbr_mini", input="sum").eval(), _build("cbr_mini").eval()
    state = _source("cbr_mini") | {"block1.conv.weight": _source("cbr_mini")["block1.conv.weight"][:, 1:2]}
    for built in (one, three):
        pour_state(Weights(source=SOURCE), built, state, seed=0)
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    torch.testing.assert_close(one.features(grey), three.features(grey))


def test_another_kernel_is_no_matter_of_channels() -> None:
    state = _source("cbr_mini") | {"block1.conv.weight": torch.rand(16, 3, 5, 5)}
    with pytest.raises(ValueError, match=r"block1\.conv\.weight \(16, 3, 5, 5\) for \(16, 1, 3, 3\)"):
        pour_state(Weights(source=SOURCE), _build("cbr_mini", input="red"), state, seed=0)


def test_other_channels_behind_the_first_layer_are_an_error() -> None:
    state = _source("cbr_mini") | {"block2.conv.weight": torch.rand(32, 3, 3, 3)}
    with pytest.raises(ValueError, match=r"block2\.conv\.weight \(32, 3, 3, 3\) for \(32, 16, 3, 3\)"):
        pour_state(Weights(source=SOURCE), _build("cbr_mini"), state, seed=0)


def test_a_position_table_is_resampled_as_timm_does() -> None:
    built = _build(VIT, size=160)
    report = _pour(built)
    theirs = timm.create_model(VIT, num_classes=0, img_size=160)
    expected = vision_transformer.checkpoint_filter_fn(dict(_source(VIT)), theirs)["pos_embed"]  # type: ignore[arg-type]
    assert built.get_parameter("backbone.pos_embed").shape == (1, 101, 192)
    assert torch.equal(built.get_parameter("backbone.pos_embed"), expected)
    assert report.reshaped == ("pos_embed",)


def test_relative_position_tables_are_resampled_as_timm_does() -> None:
    built = _build(SWIN, size=64)
    report = _pour(built)
    theirs = timm.create_model(SWIN, num_classes=0, img_size=64)
    expected = swin_transformer.checkpoint_filter_fn(dict(_source(SWIN)), theirs)
    names = [name for name in built.backbone.state_dict() if name.endswith("relative_position_bias_table")]
    own = built.backbone.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in names)
    changed = [name for name in names if own[name].shape != _source(SWIN)[name].shape]
    assert changed
    assert list(report.reshaped) == changed


@pytest.mark.parametrize(
    ("model", "tables"), [(VIT, {"cls_token", "pos_embed"}), (SWIN, {"relative_position_bias_table"})]
)
def test_tables_of_drawn_blocks_are_the_sources(model: str, tables: set[str]) -> None:
    built = _build(model, size=224)
    report = _pour(built, rest="stats", blocks=0)
    assert {name.rpartition(".")[2] for name in report.kept} == tables
    own = built.backbone.state_dict()
    assert all(torch.equal(own[name], _source(model)[name]) for name in report.kept)


@pytest.mark.parametrize("model", [VIT, SWIN])
def test_tables_are_drawn_with_the_sources_statistics_on_request(model: str) -> None:
    built = _build(model, size=224)
    report = _pour(built, rest="stats", blocks=0, tables="draw")
    drawn = [name for name in report.drawn if name.endswith(("pos_embed", "position_bias_table", "cls_token"))]
    assert report.kept == ()
    assert drawn
    for name in drawn:
        values, like = built.backbone.state_dict()[name], _source(model)[name]
        assert abs(values.mean() - like.mean()) < 5 * like.std() / math.sqrt(like.numel())
        assert values.std().item() == pytest.approx(like.std().item(), rel=5 / math.sqrt(2 * like.numel()))


def test_tables_that_keep_a_random_start_are_left() -> None:
    built = _build(VIT, size=224)
    start = built.get_parameter("backbone.pos_embed").clone()
    report = _pour(built, blocks=0)
    assert {"cls_token", "pos_embed"} <= set(report.left)
    assert torch.equal(built.get_parameter("backbone.pos_embed"), start)


def test_drawn_tables_of_another_size_keep_the_resampled_tables_statistics() -> None:
    kept, drawn = _build(VIT, size=160), _build(VIT, size=160)
    _pour(kept)
    report = _pour(drawn, rest="stats", blocks=0, tables="draw")
    like, values = (each.get_parameter("backbone.pos_embed") for each in (kept, drawn))
    assert "pos_embed" in report.reshaped
    assert values.std().item() == pytest.approx(like.std().item(), rel=0.03)


@pytest.mark.parametrize("slim", [1, 2, 3])
@pytest.mark.parametrize(("model", "grain"), [("resnet18", "block"), ("resnet18", "layer"), ("densenet121", "block")])
def test_a_slimmed_model_takes_over_the_blocks_that_keep_their_width(model: str, grain: str, slim: int) -> None:
    built = _build(model, grain=grain, slim=slim)
    report = _pour(built)
    blocks = models.blocks(built, grain)  # type: ignore[arg-type]
    wide = [key.removeprefix("backbone.") for block in blocks[:slim] for key in models.block_keys(built, block)]
    assert list(report.loaded) == wide
    own = built.backbone.state_dict()
    assert all(torch.equal(own[name], _source(model)[name]) for name in wide)


def test_more_blocks_than_keep_their_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of the tensors asked of it \d+ of \d+ have another shape"):
        _pour(_build("resnet18", slim=2), blocks=3)


@pytest.mark.parametrize("model", KINDS)
def test_every_tensor_of_every_family_has_a_rule(model: str) -> None:
    with torch.device("meta"):
        built = _build(model, size=224)
    kinds = {key: kind_of(built, key) for key in built.state_dict() if key.startswith("backbone.")}
    means = {key for key in kinds if key.endswith("running_mean")}
    assert all(kinds[key] == "norm" for key in means)
    assert kinds[models.first_weight(built)] == "weight"


def test_a_tensor_without_a_rule_is_named() -> None:
    built = _build("cbr_mini")
    built.backbone.get_submodule("block2").register_module("relu", nn.PReLU())
    with pytest.raises(ValueError, match=r"no rule for drawing backbone\.block2\.relu\.weight .* a tensor of PReLU"):
        pour_state(Weights(source=SOURCE, rest="stats", blocks=0), built, _state_of(built.backbone), seed=0)


def test_red_filters_are_not_shown_blue_pixels(site: Site) -> None:
    with pytest.raises(ValueError, match="input 'red' takes the filters of the first channel, which is blue"):
        weights.pour(Weights(), _build("cbr_mini", input="red"), seed=0, site=site, order="bgr")


def test_a_tensor_of_another_backbone_is_an_error() -> None:
    state = _source("cbr_mini") | {"block5.conv.weight": torch.rand(1), "fc.bias": torch.rand(1)}
    with pytest.raises(ValueError, match=r"it holds 1 tensors that the model has not \(block5\.conv\.weight\)"):
        pour_state(Weights(source=SOURCE), _build("cbr_mini"), state, seed=0)


@pytest.mark.parametrize("model", ["resnet10t", "cbr_mini", VIT, SWIN])
def test_a_cut_model_takes_a_whole_source_as_its_own(model: str) -> None:
    built = _build(model, size=224, depth=2)
    assert _pour(built).unexpected == ()


def test_a_cut_model_knows_a_tensor_of_another_backbone() -> None:
    state = _source("cbr_mini") | {"block5.conv.weight": torch.rand(1)}
    with pytest.raises(ValueError, match=r"it holds 1 tensors that the model has not \(block5\.conv\.weight\)"):
        pour_state(Weights(source=SOURCE), _build("cbr_mini", depth=2), state, seed=0)


def test_what_a_state_is_asked_does_not_move_torchs_generator() -> None:
    built, source = _build(VIT, size=224, depth=3), _source(VIT)
    before = torch.get_rng_state()
    pour_state(Weights(source=SOURCE), built, source, seed=0)
    assert torch.equal(before, torch.get_rng_state())
