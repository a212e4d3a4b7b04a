"""Matsoukas et al.'s transferred layers by tensors, against their definition in timm's names."""

import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache

import pytest
import timm
import torch
from torch import Tensor, nn

from sweeper import models, weights
from sweeper.cell import Network, Weights, make_cell
from sweeper.grid import grid
from sweeper.models.classifier import Classifier
from sweeper.weights.pouring import pour_state

SOURCE = "file:/a/state.safetensors"
RESNET, INCEPTION = "resnet50", "inception_v3"
DEIT, SWIN = "deit_small_patch16_224", "swin_tiny_patch4_window7_224"
TABLES = ("cls_token", "pos_embed", "relative_position_bias_table")
INCEPTION_GROUPS = (
    ("Conv2d_1a_3x3",),
    ("Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    ("Conv2d_3b_1x1",),
    ("Conv2d_4a_3x3",),
    ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
SWIN_FIRST = (0, 2, 4, 10)
"""Number of each stage's first block, counted over the stages."""


def _resnet_keeps(name: str, t: int) -> bool:
    part = name.partition(".")[0]
    if part.startswith("layer"):
        return t >= int(part.removeprefix("layer"))
    return t >= {"conv1": -1, "bn1": 0}[part]


def _inception_keeps(name: str, t: int) -> bool:
    part = name.partition(".")[0]
    return t >= next(group for group, parts in enumerate(INCEPTION_GROUPS, start=-1) if part in parts)


def _vit_keeps(name: str, t: int) -> bool:
    match name.split("."):
        case ["patch_embed", *_]:
            return t >= -1
        case ["blocks", block, *_]:
            return t >= int(block)
    return t >= 12  # the final norm


def _swin_keeps(name: str, t: int) -> bool:
    match name.split("."):
        case ["patch_embed", *_]:
            return t >= -1
        case ["layers", stage, "blocks", block, *_]:
            return t >= SWIN_FIRST[int(stage)] + int(block)
        case ["layers", stage, "downsample", *_]:  # the study's stage before ends with it
            return t > SWIN_FIRST[int(stage)] - 1
    return t >= 12


KEEPS: dict[str, Callable[[str, int], bool]] = {
    RESNET: _resnet_keeps,
    INCEPTION: _inception_keeps,
    DEIT: _vit_keeps,
    SWIN: _swin_keeps,
}
LAST = {RESNET: 4, INCEPTION: 5, DEIT: 12, SWIN: 12}
QUICK = [(RESNET, -1), (RESNET, 0), (RESNET, 3), (INCEPTION, 0), (DEIT, 5), (SWIN, 3)]
EVERY = [(model, t) for model, last in LAST.items() for t in range(-2, last + 1)]


@lru_cache(maxsize=1)
def _started(model: str) -> tuple[Classifier, dict[str, Tensor], dict[str, Tensor], frozenset[str]]:
    """A model, a pretrained state, the state that t = -2 made of it, and the names of norm layers' tensors."""
    whole = timm.create_model(model, num_classes=0)
    generator = torch.Generator().manual_seed(3)
    pretrained = {
        name: torch.rand(tensor.shape, generator=generator).sub(0.3 if tensor.ndim > 1 else -0.5).to(tensor.dtype)
        for name, tensor in whole.state_dict().items()
    }
    norms = tuple(f"{name}." for name, each in whole.named_modules() if isinstance(each, nn.BatchNorm2d | nn.LayerNorm))
    built = models.build(Network(model=model, grain="layer"), classes=2)
    _pour(built, pretrained, -2)
    drawn = {name: tensor.clone() for name, tensor in built.backbone.state_dict().items()}
    return built, pretrained, drawn, frozenset(name for name in pretrained if name.startswith(norms))


def _pour(model: Classifier, pretrained: dict[str, Tensor], t: int) -> None:
    axes = weights.study_index(model.network.model, t)
    assert axes.pop("grain") == model.network.grain
    pour_state(Weights(source=SOURCE, **axes), model, pretrained, seed=0)


def _check(model: str, t: int) -> None:
    built, pretrained, drawn, norms = _started(model)
    _pour(built, pretrained, t)
    neutral = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}
    for name, tensor in built.backbone.state_dict().items():
        if name.endswith(TABLES) or KEEPS[model](name, t):
            assert torch.equal(tensor, pretrained[name]), f"{name} is the source's"
        elif name in norms:
            assert (tensor == neutral[name.rpartition(".")[2]]).all(), f"{name} is reset"
        else:
            assert torch.equal(tensor, drawn[name]), f"{name} is the one draw"
            assert not torch.equal(tensor, pretrained[name]), f"{name} is drawn"


@pytest.mark.parametrize(("model", "t"), QUICK)
def test_an_index_starts_each_tensor_as_the_study_defines_it(model: str, t: int) -> None:
    _check(model, t)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "t"), EVERY)
def test_every_index_starts_each_tensor_as_the_study_defines_it(model: str, t: int) -> None:
    _check(model, t)


@pytest.mark.parametrize(("model", "last"), LAST.items())
def test_the_indices_go_from_nothing_to_everything(model: str, last: int) -> None:
    assert weights.study_indices(model) == range(-2, last + 1)
    assert weights.study_index(model, -2)["blocks"] == 0
    assert weights.study_index(model, last)["blocks"] == models.MODELS[model].blocks["layer"]


@pytest.mark.parametrize("model", LAST)
def test_an_index_is_a_cell(model: str) -> None:
    cells = [
        make_cell(dataset="digits", model=model, source="imagenet", **weights.study_index(model, t))
        for t in weights.study_indices(model)
    ]
    assert len({cell.key for cell in cells}) == len(cells)


def test_an_index_fits_into_a_grid() -> None:
    found = [
        cell
        for t in weights.study_indices(RESNET)
        for cell in grid(
            dataset="digits", model=RESNET, source="imagenet", seed=[0, 1], **weights.study_index(RESNET, t)
        )
    ]
    assert len(found) == 14


@pytest.mark.parametrize("t", [-3, 5])
def test_an_index_that_the_model_has_not_is_refused(t: int) -> None:
    with pytest.raises(ValueError, match=f"t is {t}; of 'resnet50' it is -2 to 4"):
        weights.study_index(RESNET, t)


def test_a_family_that_the_study_had_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no index for 'densenet121' of the family 'densenet'"):
        weights.study_indices("densenet121")


def test_indices_are_found_without_torch() -> None:
    script = (
        "import sys; from sweeper import weights; weights.study_index('resnet50', 3); "
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
