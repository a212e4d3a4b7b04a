"""What stands before and behind the backbone: channels, pooling, dropout, the head and its start."""

import math

import pytest
import timm
import torch
from built import build_meta
from torch import nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models.classifier import Classifier


def _mini(classes: int = 2, size: int = 32, **fields: object) -> Classifier:
    torch.manual_seed(3)
    return models.build(Network(model="cbr_mini", **fields), classes=classes, size=size)  # pyright: ignore


def test_a_pooled_head_takes_the_mean_over_the_image_plane() -> None:
    built = _mini(depth=2, classes=5).eval()
    images = torch.randn(3, 3, 20, 20)
    pooled = nn.functional.adaptive_avg_pool2d(built.backbone(images), 1).flatten(1)
    torch.testing.assert_close(built(images), pooled @ built.head.weight.T + built.head.bias)


def test_a_flattened_head_takes_the_whole_map() -> None:
    built = _mini(depth=2, head="flatten").eval()
    images = torch.randn(3, 3, 32, 32)
    assert torch.equal(built(images), built.head(built.backbone(images).reshape(3, -1)))


@pytest.mark.parametrize(("size", "inputs"), [(32, 32 * 8 * 8), (20, 32 * 5 * 5)])
def test_a_flattened_head_is_as_large_as_the_images_make_it(size: int, inputs: int) -> None:
    assert _mini(depth=2, head="flatten", size=size).head.in_features == inputs


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_flattened_head_takes_all_tokens(name: str) -> None:
    with torch.device("meta"):
        built = models.build(Network(model=name, head="flatten", depth=1), classes=2)
        assert built.head.in_features == built.backbone(torch.zeros(1, 3, 224, 224)).numel()


def test_finding_the_size_of_a_flattened_head_leaves_the_backbone_as_it_starts() -> None:
    flat, plain = _mini(head="flatten").backbone.state_dict(), _mini().backbone.state_dict()
    assert all(torch.equal(flat[key], plain[key]) for key in plain)


def test_a_default_start_is_timms_backbone_and_then_torchs_linear_layer() -> None:
    torch.manual_seed(3)
    built = models.build(Network(model="resnet18"), classes=2).state_dict()
    torch.manual_seed(3)
    theirs = timm.create_model("resnet18", num_classes=0).state_dict()
    head = nn.Linear(512, 2)
    theirs = {f"backbone.{key}": tensor for key, tensor in theirs.items()}
    theirs |= {"head.weight": head.weight, "head.bias": head.bias}
    assert list(built) == list(theirs)
    assert all(torch.equal(built[key], theirs[key]) for key in built)


def test_a_kaiming_start_has_the_sd_of_he_et_al() -> None:
    weight = _mini(classes=500, head_start="kaiming").head.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.02)
    assert weight.abs().max() > 3 * math.sqrt(2 / 128)  # no uniform draw reaches so far


def test_a_kaiming_start_leaves_the_bias_as_torch_draws_it() -> None:
    assert torch.equal(_mini(head_start="kaiming").head.bias, _mini().head.bias)


def test_dropout_leaves_evaluation_alone() -> None:
    images = torch.randn(3, 3, 32, 32)
    assert torch.equal(_mini(dropout=0.5).eval()(images), _mini().eval()(images))


def test_dropout_drops_so_many_inputs_of_the_head_in_training() -> None:
    built = _mini(classes=128, dropout=0.3).train()
    built.head.weight.data, built.head.bias.data = torch.eye(128), torch.zeros(128)
    logits = built.logits(torch.ones(500, 128))
    assert (logits == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(logits[logits > 0].unique(), torch.tensor([1 / 0.7]))


def test_dropout_adds_no_names_to_a_state() -> None:
    assert list(_mini(dropout=0.5).state_dict()) == list(_mini().state_dict())


@pytest.mark.parametrize("source", ["red", "sum"])
def test_one_channel_models_look_at_the_first_channel_alone(source: str) -> None:
    built, images = _mini(input=source).eval(), torch.randn(2, 3, 32, 32)
    other = torch.cat([images[:, :1], torch.randn(2, 2, 32, 32)], dim=1)
    assert torch.equal(built(images), built(other))


def test_three_channel_models_look_at_all_channels() -> None:
    built, images = _mini().eval(), torch.randn(2, 3, 32, 32)
    assert not torch.equal(built(images), built(torch.cat([images[:, :1], images[:, :1], images[:, 2:]], dim=1)))


def test_a_kernel_summed_over_its_channels_sees_grey_as_three_channels_do() -> None:
    three, one = _mini().eval(), _mini(input="sum").eval()
    key = models.first_weight(three)
    state = three.state_dict()
    one.load_state_dict(state | {key: state[key].sum(1, keepdim=True)})
    grey = torch.randn(2, 1, 32, 32).expand(-1, 3, -1, -1)
    torch.testing.assert_close(one(grey), three(grey))


@pytest.mark.parametrize("name", ["resnet10t", "cbr_mini"])
def test_a_model_takes_images_of_other_than_three_channels(name: str) -> None:
    built = models.build(Network(model=name), classes=4, channels=1).eval()
    assert built(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (2, 0)])
def test_a_model_without_classes_or_channels_is_not_built(classes: int, channels: int) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        models.build(Network(model="cbr_mini"), classes=classes, channels=channels)


def test_an_impossible_depth_is_not_built() -> None:
    with pytest.raises(ValueError, match="depth 5 of 'cbr_mini' is impossible: at grain 'block' it is 1 to 4"):
        models.build(Network(model="cbr_mini", depth=5), classes=2)


def test_a_classifier_remembers_its_network() -> None:
    network = Network(model="cbr_mini", depth=3)
    assert models.build(network, classes=2).network == network


def test_a_tagged_name_builds_the_model_of_the_name() -> None:
    assert list(build_meta("resnet18.tv_in1k").state_dict()) == list(build_meta("resnet18").state_dict())


def test_another_seed_starts_elsewhere() -> None:
    one = _mini().backbone.get_parameter("block1.conv.weight")
    torch.manual_seed(4)
    other = models.build(Network(model="cbr_mini"), classes=2).backbone.get_parameter("block1.conv.weight")
    assert not torch.equal(one, other)
